package wire

// Admission is what a decision needs of an AdmissionReview (admission.k8s.io/v1): the images of the object, and of the
// object as it was before an update, and where in the object they stand. Like a [Review], the zero value is ready and meant
// to be used again and again; the strings alias the body, or memory of the Admission itself.
type Admission struct {
	Kind       string // of the review
	APIVersion string // of the review

	UID         string
	Group       string // of request.kind
	Version     string // of request.kind
	ObjectKind  string // of request.kind, such as Deployment
	Namespace   string
	Name        string // may be empty
	SubResource string // such as ephemeralcontainers; empty for the object itself
	Operation   string // CREATE, UPDATE, DELETE or CONNECT
	DryRun      bool

	Images    []Image // of request.object
	OldImages []Image // of request.oldObject

	ServiceAccount string   // serviceAccountName of the pod or its template; may be empty
	PullSecrets    []string // names in imagePullSecrets
}

// Image is one image of a pod or of a pod template.
type Image struct {
	Image      string // may be empty
	PullPolicy string // imagePullPolicy, or an image volume's pullPolicy; empty if there is none
	Container  string // the container's name, or the volume's
	List       List   // where it stands
	Index      int    // in that list
}

// List is one of the lists of a pod's specification that name images.
type List uint8

// The lists.
const (
	Containers List = iota
	InitContainers
	EphemeralContainers
	Volumes // of which only those of type image name one
)
