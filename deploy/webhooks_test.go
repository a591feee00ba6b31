package deploy_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/google/go-cmp/cmp"

	"sluice/deploy"
)

type webhook struct {
	Name         string
	ClientConfig struct {
		URL      string
		CABundle string `yaml:"caBundle"`
	} `yaml:"clientConfig"`
	AdmissionReviewVersions []string `yaml:"admissionReviewVersions"`
	SideEffects             string   `yaml:"sideEffects"`
	FailurePolicy           string   `yaml:"failurePolicy"`
	TimeoutSeconds          int      `yaml:"timeoutSeconds"`
	MatchPolicy             string   `yaml:"matchPolicy"`
	NamespaceSelector       struct {
		MatchExpressions []struct {
			Key, Operator string
			Values        []string
		} `yaml:"matchExpressions"`
	} `yaml:"namespaceSelector"`
	Rules []struct {
		APIGroups   []string `yaml:"apiGroups"`
		APIVersions []string `yaml:"apiVersions"`
		Operations  []string
		Resources   []string
		Scope       string
	}
	MatchConditions    []struct{ Name, Expression string } `yaml:"matchConditions"`
	ReinvocationPolicy string                              `yaml:"reinvocationPolicy"`
}

type webhookConfiguration struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name   string
		Labels map[string]string
	}
	Webhooks []webhook
}

// webhooks reads webhooks.yaml: the mutating configuration and the validating one, of one webhook each.
func webhooks(t *testing.T, b *deploy.Bundle) (mutate, validate webhook) {
	t.Helper()
	documents := strings.Split(string(file(t, b, "webhooks.yaml")), "\n---\n")
	if len(documents) != 2 {
		t.Fatalf("%d documents", len(documents))
	}
	var both [2]webhookConfiguration
	for i, document := range documents {
		strict(t, []byte(document), &both[i])
		if both[i].APIVersion != "admissionregistration.k8s.io/v1" || len(both[i].Webhooks) != 1 {
			t.Fatalf("%+v", both[i])
		}
	}
	if both[0].Kind != "MutatingWebhookConfiguration" || both[1].Kind != "ValidatingWebhookConfiguration" {
		t.Errorf("%s and %s", both[0].Kind, both[1].Kind)
	}
	return both[0].Webhooks[0], both[1].Webhooks[0]
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	b := render(t, deploy.Options{
		Server: "https://[2001:db8::1]:8443/elsewhere", ExcludeNamespaces: []string{"null", "ci-2", "kube-system", "ci-2"},
	})
	mutate, validate := webhooks(t, b)
	if mutate.ReinvocationPolicy != "IfNeeded" || mutate.ClientConfig.URL != "https://[2001:db8::1]:8443/v1/admission/mutate" ||
		validate.ClientConfig.URL != "https://[2001:db8::1]:8443/v1/admission/validate" {
		t.Errorf("%+v\n%+v", mutate, validate)
	}
	for _, w := range []webhook{mutate, validate} {
		if strings.Count(w.Name, ".") < 2 {
			t.Errorf("%q: an apiserver wants three parts", w.Name)
		}
		ca, err := base64.StdEncoding.DecodeString(w.ClientConfig.CABundle)
		if err != nil || string(ca) != string(file(t, b, "pki/ca.crt")) {
			t.Errorf("%s: the CA is %q, %v", w.Name, ca, err)
		}
		if w.FailurePolicy != "Fail" || w.SideEffects != "None" || w.TimeoutSeconds != 10 || w.MatchPolicy != "Equivalent" ||
			!slices.Equal(w.AdmissionReviewVersions, []string{"v1"}) {
			t.Errorf("%+v", w)
		}
		e := w.NamespaceSelector.MatchExpressions
		if len(e) != 1 || e[0].Key != "kubernetes.io/metadata.name" || e[0].Operator != "NotIn" ||
			!slices.Equal(e[0].Values, []string{"kube-system", "null", "ci-2"}) {
			t.Errorf("%s: %+v", w.Name, e)
		}
		var reviewed []string
		for _, r := range w.Rules {
			if !slices.Equal(r.Operations, []string{"CREATE", "UPDATE"}) || !slices.Equal(r.APIVersions, []string{"v1"}) || r.Scope != "Namespaced" {
				t.Errorf("%s: %+v", w.Name, r)
			}
			for _, resource := range r.Resources {
				reviewed = append(reviewed, r.APIGroups[0]+"/"+resource)
			}
		}
		want := []string{
			"/pods", "/pods/ephemeralcontainers", "/podtemplates", "/replicationcontrollers",
			"apps/deployments", "apps/replicasets", "apps/statefulsets", "apps/daemonsets", "batch/jobs", "batch/cronjobs",
		}
		if diff := cmp.Diff(want, reviewed); diff != "" {
			t.Errorf("%s: %s", w.Name, diff)
		}
	}
	mutate.ClientConfig.URL, mutate.Name, mutate.ReinvocationPolicy = validate.ClientConfig.URL, validate.Name, ""
	if diff := cmp.Diff(validate, mutate); diff != "" {
		t.Errorf("the two doors are asked about different objects: %s", diff)
	}
}

// TestMatchConditions evaluates the condition as an apiserver does, over objects without types. One that fails to evaluate
// is a refused object, so none may.
func TestMatchConditions(t *testing.T) {
	t.Parallel()
	mutate, _ := webhooks(t, render(t, deploy.Options{Server: "https://a"}))
	if len(mutate.MatchConditions) != 1 {
		t.Fatalf("%+v", mutate.MatchConditions)
	}
	env, err := cel.NewEnv(cel.Variable("object", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	ast, issues := env.Compile(mutate.MatchConditions[0].Expression)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	if ast.OutputType() != cel.BoolType {
		t.Fatalf("it is of type %s", ast.OutputType())
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	f := func(o object, want bool) {
		t.Helper()
		got, _, err := program.Eval(map[string]any{"object": o})
		if err != nil || got.Value() != want {
			t.Errorf("%v: %v, %v", o, got, err)
		}
	}
	containers := object{"containers": []any{object{"image": "a"}}}
	f(object{"spec": containers}, true)                                                   // a Pod
	f(object{"spec": object{"template": object{"spec": containers}}}, true)               // a Deployment
	f(object{"template": object{"spec": containers}}, true)                               // a PodTemplate
	f(object{"spec": object{"jobTemplate": object{"spec": object{"template": 1}}}}, true) // a CronJob
	f(object{"spec": object{"replicas": 1}}, false)                                       // a ReplicationController without a template
	f(object{"spec": object{}}, false)
	f(object{"metadata": object{}}, false)
	f(object{}, false)
}
