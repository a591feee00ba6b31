package wire

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// request is what an Admission says, without any machinery.
type request struct {
	Kind, APIVersion                                 string
	UID, Group, Version, ObjectKind, Namespace, Name string
	SubResource, Operation                           string
	DryRun                                           bool
	Images, OldImages                                []Image
	ServiceAccount                                   string
	PullSecrets                                      []string
}

func requestOf(a *Admission) request {
	q := request{
		Kind: a.Kind, APIVersion: a.APIVersion, UID: a.UID, Group: a.Group, Version: a.Version, ObjectKind: a.ObjectKind,
		Namespace: a.Namespace, Name: a.Name, SubResource: a.SubResource, Operation: a.Operation, DryRun: a.DryRun,
		ServiceAccount: a.ServiceAccount,
	}
	q.Images = append(q.Images, a.Images...)
	q.OldImages = append(q.OldImages, a.OldImages...)
	q.PullSecrets = append(q.PullSecrets, a.PullSecrets...)
	return q
}

// ways are the names of the members on the way to a pod's specification, by group and kind.
var ways = map[[2]string][]string{
	{"", "Pod"}:                   {"spec"},
	{"", "PodTemplate"}:           {"template", "spec"},
	{"", "ReplicationController"}: {"spec", "template", "spec"},
	{"apps", "Deployment"}:        {"spec", "template", "spec"},
	{"apps", "ReplicaSet"}:        {"spec", "template", "spec"},
	{"apps", "StatefulSet"}:       {"spec", "template", "spec"},
	{"apps", "DaemonSet"}:         {"spec", "template", "spec"},
	{"batch", "Job"}:              {"spec", "template", "spec"},
	{"batch", "CronJob"}:          {"spec", "jobTemplate", "spec", "template", "spec"},
}

// The fields as k8s.io/api tags them.
type (
	podSpec struct {
		podLists
		ServiceAccountName string `json:"serviceAccountName"`
		ServiceAccount     string `json:"serviceAccount"`
		ImagePullSecrets   []struct {
			Name string `json:"name"`
		} `json:"imagePullSecrets"`
	}
	podLists struct {
		Volumes []struct {
			Name  string `json:"name"`
			Image *struct {
				Reference  string `json:"reference"`
				PullPolicy string `json:"pullPolicy"`
			} `json:"image"`
		} `json:"volumes"`
		InitContainers      []podContainer `json:"initContainers"`
		Containers          []podContainer `json:"containers"`
		EphemeralContainers []podContainer `json:"ephemeralContainers"`
	}
	podContainer struct {
		Name            string `json:"name"`
		Image           string `json:"image"`
		ImagePullPolicy string `json:"imagePullPolicy"`
	}
)

// images lists the images, list by list.
func (s *podLists) images() (all []Image) {
	for list, containers := range [][]podContainer{s.Containers, s.InitContainers, s.EphemeralContainers} {
		for i, c := range containers {
			all = append(all, Image{c.Image, c.ImagePullPolicy, c.Name, List(list), i})
		}
	}
	for i, v := range s.Volumes {
		if v.Image != nil {
			all = append(all, Image{v.Image.Reference, v.Image.PullPolicy, v.Name, Volumes, i})
		}
	}
	return all
}

// standardAdmission reads a body as encoding/json does, on structs of the fields of Kubernetes. Images are in the order of
// the lists, not of the body.
func standardAdmission(body []byte) (request, error) {
	var v struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Request    struct {
			UID  string `json:"uid"`
			Kind struct {
				Group   string `json:"group"`
				Version string `json:"version"`
				Kind    string `json:"kind"`
			} `json:"kind"`
			SubResource string          `json:"subResource"`
			Name        string          `json:"name"`
			Namespace   string          `json:"namespace"`
			Operation   string          `json:"operation"`
			Object      json.RawMessage `json:"object"`
			OldObject   json.RawMessage `json:"oldObject"`
			DryRun      bool            `json:"dryRun"`
		} `json:"request"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return request{}, err
	}
	r := &v.Request
	q := request{
		Kind: v.Kind, APIVersion: v.APIVersion, UID: r.UID, Group: r.Kind.Group, Version: r.Kind.Version, ObjectKind: r.Kind.Kind,
		Namespace: r.Namespace, Name: r.Name, SubResource: r.SubResource, Operation: r.Operation, DryRun: r.DryRun,
	}
	way := ways[[2]string{q.Group, q.ObjectKind}]
	pod := func(object json.RawMessage, spec any) error {
		for _, step := range way {
			var members map[string]json.RawMessage
			if len(object) > 0 {
				if err := json.Unmarshal(object, &members); err != nil {
					return err
				}
			}
			object = members[step]
		}
		if len(way) == 0 || len(object) == 0 {
			return nil
		}
		return json.Unmarshal(object, spec)
	}
	var now podSpec
	var old podLists
	if err := errors.Join(pod(r.Object, &now), pod(r.OldObject, &old)); err != nil {
		return request{}, err
	}
	q.Images, q.OldImages = now.images(), old.images()
	q.ServiceAccount = now.ServiceAccountName
	if q.ServiceAccount == "" {
		q.ServiceAccount = now.ServiceAccount
	}
	for _, secret := range now.ImagePullSecrets {
		if secret.Name != "" {
			q.PullSecrets = append(q.PullSecrets, secret.Name)
		}
	}
	return q, nil
}

// byList puts images in the order of the lists.
func byList(q request) request {
	inOrder := func(images []Image) []Image {
		images = slices.Clone(images)
		slices.SortStableFunc(images, func(a, b Image) int { return int(a.List) - int(b.List) })
		return images
	}
	q.Images, q.OldImages = inOrder(q.Images), inOrder(q.OldImages)
	return q
}

// admissionOracle makes a request of a body, with encoding/json for every single step. alike tells whether
// [standardAdmission] has to say the same: no name comes twice, or in another case.
type admissionOracle struct {
	q       request
	account string
	alike   bool
}

// object calls f for each member of a value that is an object, or null.
func (o *admissionOracle) object(raw json.RawMessage, once []string, f func(key string, value json.RawMessage) error) error {
	if string(raw) == "null" {
		return nil
	}
	seen := map[string]bool{}
	return members(raw, func(key string, value json.RawMessage) error {
		if seen[key] {
			o.alike = false
			if slices.Contains(once, key) {
				return errors.New("twice")
			}
		}
		seen[key] = true
		return f(key, value)
	})
}

// strings reads the members that are strings into those of the same name, others with f.
func (o *admissionOracle) strings(into map[string]*string, f func(key string, value json.RawMessage) error) func(string, json.RawMessage) error {
	return func(key string, value json.RawMessage) error {
		for name := range into {
			o.alike = o.alike && (name == key || !strings.EqualFold(name, key))
		}
		if s := into[key]; s != nil {
			return json.Unmarshal(value, s)
		}
		if f == nil {
			return nil
		}
		return f(key, value)
	}
}

// readAdmission says what Decode has to make of a body.
func readAdmission(body []byte) (q request, alike bool, err error) {
	o := admissionOracle{alike: true}
	if !json.Valid(body) {
		return request{}, true, errors.New("not JSON")
	}
	if strings.TrimLeft(string(body), " \t\r\n")[0] != '{' {
		return request{}, false, errors.New("not an object")
	}
	err = o.object(body, []string{"request"}, o.strings(map[string]*string{"kind": &o.q.Kind, "apiVersion": &o.q.APIVersion},
		func(key string, value json.RawMessage) error {
			o.alike = o.alike && (key == "request" || !strings.EqualFold(key, "request"))
			if key != "request" {
				return nil
			}
			return o.request(value)
		}))
	if err != nil {
		return request{}, o.alike, err
	}
	if o.q.ServiceAccount == "" {
		o.q.ServiceAccount = o.account
	}
	return o.q, o.alike, nil
}

func (o *admissionOracle) request(raw json.RawMessage) error {
	q := &o.q
	var object, old json.RawMessage
	err := o.object(raw, []string{"kind", "object", "oldObject"}, o.strings(map[string]*string{
		"uid": &q.UID, "subResource": &q.SubResource, "name": &q.Name, "namespace": &q.Namespace, "operation": &q.Operation,
	}, func(key string, value json.RawMessage) error {
		for _, name := range []string{"kind", "object", "oldObject", "dryRun"} {
			o.alike = o.alike && (name == key || !strings.EqualFold(name, key))
		}
		switch key {
		case "kind":
			return o.object(value, nil, o.strings(map[string]*string{"group": &q.Group, "version": &q.Version, "kind": &q.ObjectKind}, nil))
		case "dryRun":
			return json.Unmarshal(value, &q.DryRun)
		case "object":
			object = value
		case "oldObject":
			old = value
		}
		return nil
	}))
	if err != nil {
		return err
	}
	if way := ways[[2]string{q.Group, q.ObjectKind}]; way != nil {
		if err := o.descend(object, way, true, &q.Images); err != nil {
			return err
		}
		return o.descend(old, way, false, &q.OldImages)
	}
	return nil
}

func (o *admissionOracle) descend(raw json.RawMessage, way []string, now bool, images *[]Image) error {
	switch {
	case raw == nil:
		return nil
	case len(way) == 0:
		return o.spec(raw, now, images)
	}
	return o.object(raw, way[:1], func(key string, value json.RawMessage) error {
		if key != way[0] {
			return nil
		}
		return o.descend(value, way[1:], now, images)
	})
}

func (o *admissionOracle) spec(raw json.RawMessage, now bool, images *[]Image) error {
	lists := map[string]List{"containers": Containers, "initContainers": InitContainers, "ephemeralContainers": EphemeralContainers, "volumes": Volumes}
	once := []string{"containers", "initContainers", "ephemeralContainers", "volumes"}
	into := map[string]*string{}
	if now {
		once = append(once, "imagePullSecrets")
		into["serviceAccountName"], into["serviceAccount"] = &o.q.ServiceAccount, &o.account
	}
	return o.object(raw, once, o.strings(into, func(key string, value json.RawMessage) error {
		for _, name := range append(once, "imagePullSecrets") {
			o.alike = o.alike && (name == key || !strings.EqualFold(name, key))
		}
		if list, ok := lists[key]; ok {
			return o.list(value, list, images)
		}
		if key != "imagePullSecrets" || !now {
			return nil
		}
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return err
		}
		for _, element := range elements {
			name := ""
			if err := o.object(element, nil, o.strings(map[string]*string{"name": &name}, nil)); err != nil {
				return err
			}
			if name != "" {
				o.q.PullSecrets = append(o.q.PullSecrets, name)
			}
		}
		return nil
	}))
}

func (o *admissionOracle) list(raw json.RawMessage, list List, images *[]Image) error {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return err
	}
	for i, element := range elements {
		image := Image{List: list, Index: i}
		into := map[string]*string{"name": &image.Container}
		is := list != Volumes
		if is {
			into["image"], into["imagePullPolicy"] = &image.Image, &image.PullPolicy
		}
		var once []string
		if !is {
			once = []string{"image"}
		}
		err := o.object(element, once, o.strings(into, func(key string, value json.RawMessage) error {
			o.alike = o.alike && (key == "image" || !strings.EqualFold(key, "image"))
			if is || key != "image" {
				return nil
			}
			is = string(value) != "null"
			return o.object(value, nil, o.strings(map[string]*string{"reference": &image.Image, "pullPolicy": &image.PullPolicy}, nil))
		}))
		if err != nil {
			return err
		}
		if is {
			*images = append(*images, image)
		}
	}
	return nil
}
