package proof

// What one item may cost, whatever has been pushed. Whoever can push writes it, so nothing in it may set the size of
// the work.
const (
	// maxContent bounds what an item is made of, in bytes, and maxAnnotation each of its layer's annotations. What
	// finds items has stricter bounds of its own.
	maxContent    = 4 << 20
	maxAnnotation = 256 << 10

	// maxDepth is how deeply JSON may be nested, of which a claim needs three levels and a bundle eight;
	// maxStatementDepth is that of a statement, whose predicate may be a bill of materials with parts of parts.
	maxDepth          = 32
	maxStatementDepth = 64

	// maxElements is how many values a bundle, an envelope or a log's answer may have. A bundle with an inclusion
	// proof has about 100. Parsers make up to 150 bytes of each of them.
	maxElements = 10_000

	// maxSubjects and maxDigests bound an in-toto statement: sigstore-go's bounds.
	maxSubjects = 1024
	maxDigests  = 32

	// maxMembers is how many members an object may have whose names are remembered, to refuse a second of one name.
	maxMembers = 1024

	// maxClaims and maxClaim bound the annotations that are copied out of one payload: how many, and the bytes of one
	// name or value. What is beyond is left out, so a policy that asks for it does not pass.
	maxClaims = 64
	maxClaim  = 4 << 10

	// maxSignatures is how many signatures an envelope may have, each of which is tried with every key. cosign's own
	// have one.
	maxSignatures = 4

	// maxEntries and maxTimestamps are how many log entries and timestamps a signature may have, each of which costs up
	// to a millisecond; there are one or two of them. maxTimestamp bounds one, in bytes: those with two certificates
	// have about 3,000.
	maxEntries    = 4
	maxTimestamps = 4
	maxTimestamp  = 32 << 10

	// maxBody and maxCheckpoint bound those of a log entry, and maxCertificate a certificate, in bytes; they have about
	// 4,000, 300 and 1,000. maxHashes is how many an inclusion proof may have: one for each time that the log doubled.
	maxBody        = 128 << 10
	maxCheckpoint  = 16 << 10
	maxCertificate = 64 << 10
	maxHashes      = 64

	// maxRSA and maxExponent bound RSA keys that a signature brings, in bits: cosign's own are no larger.
	maxRSA      = 4096
	maxExponent = 65537

	// costP384 and MaxCost are what a certificate's signature costs whose key is of P-384, and of P-521: processor time
	// in units of what one of P-256 takes, with its log entry and its timestamp. Keys that a policy names cost 1.
	costP384 = 2
	MaxCost  = 4

	// maxIntermediates is how many certificates a signature may bring beside its own.
	maxIntermediates = 5

	// maxText is how much of a refusal is told, in bytes: what others say of proofs that don't fit goes on for long.
	maxText = 1 << 10

	// maxSignature bounds one signature, in bytes. That of RSA with 4096 bits has 512.
	maxSignature = 3 << 10
)
