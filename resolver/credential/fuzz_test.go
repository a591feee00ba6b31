package credential

import (
	"strings"
	"testing"
)

// FuzzResponse reads whatever a plugin may write.
func FuzzResponse(f *testing.F) {
	f.Add(says("Registry", "10m", forR))
	f.Add(says("Image", "", "null"))
	f.Add(says("Global", "-1s", `{"":{}}`))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseResponse([]byte(text), "credentialprovider.kubelet.k8s.io/v1")
		if (r == nil) == (err == nil) {
			t.Fatal("an answer or an error, and not both")
		}
		if err != nil {
			return
		}
		if r.scope > scopeGlobal || r.duration < asConfigured || r.keyring == nil {
			t.Errorf("%+v", r)
		}
		r.keyring.Logins("r.example", "x")
	})
}

// FuzzRedact logs whatever a plugin may write.
func FuzzRedact(f *testing.F) {
	f.Add("password: hunter2\nnext")
	f.Add("Authorization: Bearer a.b.c https://u:p@h/")
	f.Add("\xff\x00\u2028" + strings.Repeat("token ", 200))
	f.Fuzz(func(t *testing.T, text string) {
		said := redact(text)
		if len(said) > maxSaid+len("…") || strings.ContainsAny(said, "\n\r\x00\x1b") || opaque.MatchString(said) {
			t.Errorf("%q", said)
		}
		if after := redact("x password=" + text); !strings.HasPrefix(after, "x password …") {
			if len(after) <= maxSaid {
				t.Errorf("%q", after)
			}
		}
	})
}

// FuzzDocument reads whatever the configuration's file may hold: never a panic, and always where it is wrong.
func FuzzDocument(f *testing.F) {
	f.Add(goodYAML)
	f.Add(`{"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [{"name": 1}]}`)
	f.Add("a: &a [*a]\n<<: *a\n? b\n: |\n c")
	f.Fuzz(func(t *testing.T, text string) {
		var into file
		d, err := readDocument("f", []byte(text), &into)
		if err == nil {
			_, err = into.check(d, nil)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%v", err)
		}
	})
}
