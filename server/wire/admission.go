package wire

// Admission is what a decision needs of an AdmissionReview (admission.k8s.io/v1): the images of the object, and of the
// object as it was before an update, and where in the object they stand. Like a [Review], the zero value is ready and
// meant to be used again and again; the strings alias the body, or memory of the Admission itself.
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

	Images    []Image // of request.object, in the order of the body; an entry without an image is one of an empty Image
	OldImages []Image // of request.oldObject

	// Of request.object.
	ServiceAccount string   // serviceAccountName of the pod or its template, or its older name serviceAccount; may be empty
	PullSecrets    []string // names in imagePullSecrets, without empty ones

	images, old []Image // what Images and OldImages show, with the capacity that later reviews use
	secrets     []string
	lean        [3]int // of the three; see emptied
	account     string // serviceAccount
	reader
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

// Reset forgets the last review, so that nothing of its body is kept alive. The capacity stays, within bounds.
func (a *Admission) Reset() {
	a.Kind, a.APIVersion = "", ""
	a.UID, a.Group, a.Version, a.ObjectKind, a.Namespace, a.Name, a.SubResource, a.Operation = "", "", "", "", "", "", "", ""
	a.DryRun = false
	a.Images, a.OldImages, a.ServiceAccount, a.PullSecrets, a.account = nil, nil, "", nil, ""
	a.images = emptied(a.images, &a.lean[0])
	a.old = emptied(a.old, &a.lean[1])
	a.secrets = emptied(a.secrets, &a.lean[2])
	a.reader.reset()
}

// Decode reads a body into a, over whatever a held. Every error is a [*DecodeError] and leaves a empty. The body is
// written to, as by [Review.Decode], whose rules are these, too, with two differences. Of what is read, objects and lists
// that come twice are errors: request, its kind and objects, all on the way to the images, and the lists. And images, old
// images and names of pull secrets are refused beyond [MaxImages] of each.
//
// The members may come in any order. A request without an object is no error (the object of a DELETE is null), nor is
// one of a kind that is not known, whose objects are not looked into: see [Admission.Known].
func (a *Admission) Decode(body []byte) error {
	a.Reset()
	i := a.document(body)
	if i >= 0 {
		i = a.review(body, i)
	}
	if i >= 0 {
		i = a.end(body, i)
	}
	if i < 0 {
		failure := a.failure
		a.Reset()
		return &failure
	}
	a.Images, a.OldImages, a.PullSecrets = a.images, a.old, a.secrets
	if a.ServiceAccount == "" {
		a.ServiceAccount = a.account
	}
	return nil
}

const twice = "a name that may come once only comes twice in an object"

// review reads the outermost object from behind its brace.
func (a *Admission) review(b []byte, i int) int {
	seen := false
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "kind":
			i = a.text(b, value, &a.Kind, "kind is not a string")
		case "apiVersion":
			i = a.text(b, value, &a.APIVersion, "apiVersion is not a string")
		case "request":
			switch {
			case seen:
				i = a.fail(value, twice)
			case b[value] == '{':
				i = a.request(b, value+1)
			case b[value] == 'n':
				i = a.literal(b, value, "null")
			default:
				i = a.fail(value, "request is not an object")
			}
			seen = true
		default:
			i = a.skip(b, value, 1)
		}
		if i < 0 {
			return i
		}
	}
}

// request reads the request from behind its brace. An object that comes before the kind, as the apiserver never writes
// it, is passed over and read when the kind is known.
func (a *Admission) request(b []byte, i int) int {
	var kind int              // where it begins; 0 before it has come
	var objects, later [2]int // likewise, of the object and the old one; later are those still to be read
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			i = value
			break
		}
		switch string(key) {
		case "uid":
			i = a.text(b, value, &a.UID, "request.uid is not a string")
		case "kind":
			if i = a.once(value, &kind); i >= 0 {
				i = a.kind(b, value)
			}
		case "subResource":
			i = a.text(b, value, &a.SubResource, "request.subResource is not a string")
		case "name":
			i = a.text(b, value, &a.Name, "request.name is not a string")
		case "namespace":
			i = a.text(b, value, &a.Namespace, "request.namespace is not a string")
		case "operation":
			i = a.text(b, value, &a.Operation, "request.operation is not a string")
		case "dryRun":
			i = a.truth(b, value, &a.DryRun, "request.dryRun is neither true nor false")
		case "object", "oldObject":
			side := 0
			if string(key) == "oldObject" {
				side = 1
			}
			if i = a.once(value, &objects[side]); i < 0 {
				return i
			}
			if kind > 0 {
				i = a.object(b, value, side == 1)
			} else {
				later[side] = value
				i = a.skip(b, value, 2)
			}
		default:
			i = a.skip(b, value, 2)
		}
		if i < 0 {
			return i
		}
	}
	for side, at := range later {
		if at > 0 {
			if end := a.object(b, at, side == 1); end < 0 {
				return end
			}
		}
	}
	return i
}

// kind reads request.kind.
func (a *Admission) kind(b []byte, i int) int {
	switch b[i] {
	case '{':
	case 'n':
		return a.literal(b, i, "null")
	default:
		return a.fail(i, "request.kind is not an object")
	}
	i++
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "group":
			i = a.text(b, value, &a.Group, "request.kind.group is not a string")
		case "version":
			i = a.text(b, value, &a.Version, "request.kind.version is not a string")
		case "kind":
			i = a.text(b, value, &a.ObjectKind, "request.kind.kind is not a string")
		default:
			i = a.skip(b, value, 3)
		}
		if i < 0 {
			return i
		}
	}
}

// once notes in at that a member with the value at i has come, and returns i unless one has come before.
func (a *Admission) once(i int, at *int) int {
	if *at > 0 {
		return a.fail(i, twice)
	}
	*at = i
	return i
}

// truth reads a truth value into dst, or null, which leaves dst alone.
func (a *Admission) truth(b []byte, i int, dst *bool, otherType string) int {
	word := "null"
	switch b[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
	default:
		return a.fail(i, otherType)
	}
	if i = a.literal(b, i, word); i >= 0 && word != "null" {
		*dst = word == "true"
	}
	return i
}
