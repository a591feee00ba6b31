package server

// kind is what is asked at a door.
type kind uint8

const (
	imageReview kind = iota // an ImageReview, as the ImagePolicyWebhook plugin sends them
	validate                // an AdmissionReview: may this object's images run
	mutate                  // an AdmissionReview: what is to be written in their place

	numKinds
)

var kindNames = [numKinds]string{imageReview: "imagereview", validate: "validate", mutate: "mutate"}

func (k kind) String() string { return kindNames[k] }

// What the doors for AdmissionReview are called by.
const (
	validatePath = "/v1/admission/validate"
	mutatePath   = "/v1/admission/mutate"
)

// doorways are all doors by their paths, further ones for ImageReview among them.
func doorways(further []string) map[string]kind {
	all := map[string]kind{"/v1/imagereview": imageReview, "/": imageReview, "/policy": imageReview, "/image_policy": imageReview}
	for _, path := range further {
		all[path] = imageReview
	}
	all[validatePath], all[mutatePath] = validate, mutate
	return all
}

// open tells whether a door answers anyone.
func (s *Server) open(k kind) bool { return k != imageReview && s.config.Admission.Anonymous }

// maxBody is the largest body that is read at a door, in bytes. An AdmissionReview may have twice what an ImageReview may,
// and no more than all bodies together: of an update it holds the object twice, as it was and as it is to be.
func (s *Server) maxBody(k kind) int64 {
	if k == imageReview {
		return s.config.MaxBody
	}
	return min(2*s.config.MaxBody, s.config.MaxBodies)
}
