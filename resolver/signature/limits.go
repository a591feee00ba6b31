package signature

// What one digest may cost, whatever has been pushed beside it. Whoever can push to a repository writes the
// signature manifest, so nothing in it may set the size of the work. The manifest itself is bounded by the
// [Fetcher].
const (
	// maxLayers is how many layers a signature manifest may have. cosign reads no more either (maxLayers in its
	// pkg/oci/remote).
	maxLayers = 1000

	// maxSignatures is how many signatures of one digest are looked at: of more, the first and the last
	// maxSignatures/2. cosign appends, so that neither what was signed before someone pushed junk nor what was
	// signed after it is lost.
	maxSignatures = 64

	// maxPayload bounds one signed payload, in bytes. cosign's own are about 250.
	maxPayload = 1 << 20

	// maxPayloads bounds all payloads of one digest together, in bytes.
	maxPayloads = 4 << 20

	// maxSignatureText bounds one signature in base64, in bytes. That of RSA with 4096 bits takes 684.
	maxSignatureText = 4 << 10

	// maxFetches is how many payloads of one digest are fetched side by side.
	maxFetches = 8

	// maxDepth is how deeply a payload's JSON may be nested. cosign's own need three levels.
	maxDepth = 32

	// maxAnnotations and maxAnnotation bound the annotations that are copied out of one payload: how many, and
	// the bytes of one name or value. What is beyond is left out, so a policy that asks for it does not pass.
	maxAnnotations = 64
	maxAnnotation  = 4 << 10

	// maxCauses is how many signatures the log reads about when none of them will do.
	maxCauses = 4
)
