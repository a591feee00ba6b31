package attached

// What one place may cost, whatever has been pushed there. Whoever can push to a repository writes the manifests, so
// nothing in them may set the size of the work. Lists and manifests under a tag are bounded by the [Fetcher].
const (
	// maxLayers is how many layers a manifest may have. cosign reads no more either (maxLayers in its pkg/oci/remote).
	maxLayers = 1000

	// maxItems is how many items of one place are looked at. See choose for which.
	maxItems = 64

	// maxReferrers is how many of the manifests that name a digest as their subject are looked at. See rank for which.
	maxReferrers = 64

	// maxReferrer bounds one such manifest, and enoughReferrers all of them: once as many bytes have come, those that
	// are not yet asked for are left alone. cosign's own take a kilobyte, and up to eight more for a certificate.
	maxReferrer     = 512 << 10
	enoughReferrers = 2 << 20

	// maxPayload bounds one simple signing payload, in bytes. cosign's own are about 250.
	maxPayload = 1 << 20

	// maxStatement bounds one DSSE envelope or bundle, in bytes: attestations carry whole bills of materials.
	maxStatement = 4 << 20

	// maxContent bounds all content of one place together, in bytes. Two places are held at once, and what is read out of
	// them takes as much again: more would not fit into the 64 MiB that a review may take.
	maxContent = 6 << 20

	// maxFetches is how many things of one place are fetched side by side.
	maxFetches = 8

	// The bounds of annotations, in bytes. RSA with 4096 bits makes a signature of 684 in base64; a certificate of
	// Fulcio's takes 1.2 KiB, its chain 2.3, what Rekor answered 3 to 5 (and the whole attestation in old entries), a
	// timestamp 4 to 6.
	maxSignature   = 4 << 10
	maxCertificate = 64 << 10
	maxLogEntry    = 256 << 10
	maxTimestamp   = 64 << 10

	// itemOverhead is about what an item takes beside its bytes.
	itemOverhead = 512
)
