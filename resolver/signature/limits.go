package signature

import "time"

// What one verification may cost, whatever has been pushed beside a digest. What is read of it is bounded by the
// package attached.
const (
	// maxJudged is how many signatures and attestations one verification judges: as many as two places have that are
	// looked at. A certificate's takes some 4 ms, a key's 0.1 ms. That of a certificate with a key of a larger curve
	// counts as several, by its cost ([proof.MaxCost]), and comes after the others of its place.
	maxJudged = 128

	// maxCauses is how many of them the log reads about when none will do.
	maxCauses = 4
)

// downloadTTL is how long what lies beside a digest is kept for the other authorities of a review, and for the
// reviews that come with it. A signature that is pushed is seen after that at the latest.
const downloadTTL = 2 * time.Second

// What is remembered beside facts and downloads, in entries. Both tables may lose any entry: it costs time alone.
const (
	maxHints       = 4096
	maxGenerations = 4096
)

// maxJudges is how many judges are kept, which is one for each trust of the policies in force, and for a while of
// those before them.
const maxJudges = 256
