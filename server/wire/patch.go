package wire

// AdmissionReply is the answer to an AdmissionReview.
type AdmissionReply struct {
	UID     string // of the request; the apiserver refuses an answer with another
	Allowed bool

	// The status, which the apiserver shows on a denial only; left out if all three are empty.
	Code    int    // of HTTP, such as 403
	Reason  string // one of the API's words, such as Forbidden
	Message []byte // for who made the request

	Warnings [][]byte // for who made the request. The apiserver cuts each at 256 characters, and all at 4096

	// As in a [Reply].
	Prepared []byte
	Audit    []Annotation

	Patch []PatchOp // what is to be changed in request.object; left out if there is nothing
}

// PatchOp is what is to be changed about one image.
type PatchOp struct {
	Image      *Image // of Admission.Images
	Rewrite    string // the image to put in its place; empty if it stays
	AlwaysPull bool   // set the pull policy to Always, whether there is one or not
}

// Known tells whether the kind of the request is one whose images are found.
func (a *Admission) Known() bool { return false }

// Reset forgets the last review.
func (a *Admission) Reset() { *a = Admission{} }

// Decode reads a body into a.
func (a *Admission) Decode(_ []byte) error {
	a.Reset()
	return &DecodeError{Message: "an AdmissionReview is not read yet"}
}

// AppendAdmissionReply appends the answer as an AdmissionReview.
func AppendAdmissionReply(dst []byte, _ *Admission, _ *AdmissionReply) []byte { return dst }
