package wire

import (
	"strconv"
	"strings"
)

// Known tells whether the kind of the request is one whose images are found: a pod, or one of the kinds of Kubernetes
// itself that have a template of pods. The same word in another API group is another kind.
func (a *Admission) Known() bool { return a.pod() != "" }

// pod returns where in the object the pod's specification stands, as a JSON pointer (RFC 6901). It is empty if the kind
// is not known.
func (a *Admission) pod() string {
	switch a.Group {
	case "":
		switch a.ObjectKind {
		case "Pod":
			return "/spec"
		case "PodTemplate":
			return "/template/spec"
		case "ReplicationController":
			return "/spec/template/spec"
		}
	case "apps":
		switch a.ObjectKind {
		case "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet":
			return "/spec/template/spec"
		}
	case "batch":
		switch a.ObjectKind {
		case "Job":
			return "/spec/template/spec"
		case "CronJob":
			return "/spec/jobTemplate/spec/template/spec"
		}
	}
	return ""
}

// object reads request.object, or request.oldObject.
func (a *Admission) object(b []byte, i int, old bool) int {
	if pod := a.pod(); pod != "" {
		return a.descend(b, i, 2, pod[1:], old)
	}
	return a.skip(b, i, 2)
}

// descend reads an object, or null, that stands on the way to the pod's specification: in depth others, and with way
// still to go, whose steps are parted by slashes. It calls itself no deeper than that way is long.
func (a *Admission) descend(b []byte, i, depth int, way string, old bool) int {
	switch b[i] {
	case '{':
	case 'n':
		return a.literal(b, i, "null")
	default:
		return a.fail(i, "what holds the specification of a pod is not an object")
	}
	i++
	depth++
	step, rest, further := strings.Cut(way, "/")
	seen := 0
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		switch {
		case string(key) != step:
			i = a.skip(b, value, depth)
		case a.once(value, &seen) < 0:
			return -1
		case further:
			i = a.descend(b, value, depth, rest, old)
		default:
			i = a.spec(b, value, depth, old)
		}
		if i < 0 {
			return i
		}
	}
}

// spec reads the specification of a pod.
func (a *Admission) spec(b []byte, i, depth int, old bool) int {
	switch b[i] {
	case '{':
	case 'n':
		return a.literal(b, i, "null")
	default:
		return a.fail(i, "the specification of a pod is not an object")
	}
	i++
	depth++
	images := &a.images
	if old {
		images = &a.old
	}
	var lists [Volumes + 1]int
	secrets := 0
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		list := Volumes + 1
		switch string(key) {
		case "containers":
			list = Containers
		case "initContainers":
			list = InitContainers
		case "ephemeralContainers":
			list = EphemeralContainers
		case "volumes":
			list = Volumes
		}
		switch {
		case list <= Volumes:
			if i = a.once(value, &lists[list]); i >= 0 {
				i = a.list(b, value, depth, list, images)
			}
		case old:
			i = a.skip(b, value, depth)
		case string(key) == "serviceAccountName":
			i = a.text(b, value, &a.ServiceAccount, "serviceAccountName is not a string")
		case string(key) == "serviceAccount":
			i = a.text(b, value, &a.account, "serviceAccount is not a string")
		case string(key) == "imagePullSecrets":
			if i = a.once(value, &secrets); i >= 0 {
				i = a.pullSecrets(b, value, depth)
			}
		default:
			i = a.skip(b, value, depth)
		}
		if i < 0 {
			return i
		}
	}
}

// list reads one of the lists that name images.
func (a *Admission) list(b []byte, i, depth int, list List, images *[]Image) int {
	switch b[i] {
	case '[':
	case 'n':
		return a.literal(b, i, "null")
	default:
		return a.fail(i, "the containers or volumes of a pod are not a list")
	}
	i++
	for n := 0; ; n++ {
		value, more := a.element(b, i, n == 0)
		if !more {
			return value
		}
		*images = append(*images, Image{List: list, Index: n})
		image := &(*images)[len(*images)-1]
		is := list != Volumes
		switch b[value] {
		case '{':
			if is {
				i = a.container(b, value+1, depth+2, image)
			} else {
				i, is = a.volume(b, value+1, depth+2, image)
			}
		case 'n':
			i = a.literal(b, value, "null")
		default:
			i = a.fail(value, "a container or a volume is not an object")
		}
		if i < 0 {
			return i
		}
		if !is {
			*image = Image{}
			*images = (*images)[:len(*images)-1]
		} else if len(*images) > MaxImages {
			return a.fail(value, "there are more than "+strconv.Itoa(MaxImages)+" images, which no pod can have")
		}
	}
}

// container reads a container from behind its brace.
func (a *Admission) container(b []byte, i, depth int, image *Image) int {
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "name":
			i = a.text(b, value, &image.Container, "the name of a container is not a string")
		case "image":
			i = a.text(b, value, &image.Image, "the image of a container is not a string")
		case "imagePullPolicy":
			i = a.text(b, value, &image.PullPolicy, "the imagePullPolicy of a container is not a string")
		default:
			i = a.skip(b, value, depth)
		}
		if i < 0 {
			return i
		}
	}
}

// volume reads a volume from behind its brace, and tells whether it is an image.
func (a *Admission) volume(b []byte, i, depth int, image *Image) (end int, is bool) {
	seen := 0
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value, is
		}
		switch string(key) {
		case "name":
			i = a.text(b, value, &image.Container, "the name of a volume is not a string")
		case "image":
			if i = a.once(value, &seen); i < 0 {
				return i, false
			}
			switch b[value] {
			case '{':
				is = true
				i = a.imageOf(b, value+1, depth+1, image)
			case 'n':
				i = a.literal(b, value, "null")
			default:
				i = a.fail(value, "the image of a volume is not an object")
			}
		default:
			i = a.skip(b, value, depth)
		}
		if i < 0 {
			return i, false
		}
	}
}

// imageOf reads the image of a volume from behind its brace.
func (a *Admission) imageOf(b []byte, i, depth int, image *Image) int {
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		switch string(key) {
		case "reference":
			i = a.text(b, value, &image.Image, "the reference of an image volume is not a string")
		case "pullPolicy":
			i = a.text(b, value, &image.PullPolicy, "the pullPolicy of an image volume is not a string")
		default:
			i = a.skip(b, value, depth)
		}
		if i < 0 {
			return i
		}
	}
}

// pullSecrets reads the names of imagePullSecrets.
func (a *Admission) pullSecrets(b []byte, i, depth int) int {
	switch b[i] {
	case '[':
	case 'n':
		return a.literal(b, i, "null")
	default:
		return a.fail(i, "imagePullSecrets is not a list")
	}
	i++
	for first := true; ; first = false {
		value, more := a.element(b, i, first)
		if !more {
			return value
		}
		name := ""
		switch b[value] {
		case '{':
			i = a.secretName(b, value+1, depth+2, &name)
		case 'n':
			i = a.literal(b, value, "null")
		default:
			i = a.fail(value, "one of imagePullSecrets is not an object")
		}
		switch {
		case i < 0:
			return i
		case name == "":
		case len(a.secrets) == MaxImages:
			return a.fail(value, "there are more than "+strconv.Itoa(MaxImages)+" imagePullSecrets, which no pod can have")
		default:
			a.secrets = append(a.secrets, name)
		}
	}
}

// secretName reads one of imagePullSecrets from behind its brace.
func (a *Admission) secretName(b []byte, i, depth int, name *string) int {
	for first := true; ; first = false {
		key, value, more := a.member(b, i, first)
		if !more {
			return value
		}
		if string(key) == "name" {
			i = a.text(b, value, name, "the name of one of imagePullSecrets is not a string")
		} else {
			i = a.skip(b, value, depth)
		}
		if i < 0 {
			return i
		}
	}
}
