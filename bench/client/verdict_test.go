package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"sluice/bench"
)

// The replies that kube-apiserver was observed to take, and those that it was not.
var replies = map[string]bench.Answer{
	allowedReply:                  {Verdict: true, Allowed: true},
	allowedReply + " \r\n\t":      {Verdict: true, Allowed: true},
	`{"status":{"allowed":true}}`: {Verdict: true, Allowed: true},
	`{"kind":"","apiVersion":null,"status":{"allowed":true}}`: {Verdict: true, Allowed: true},
	`{"st\u0061tus":{"\u0061llowed":true}}`:                   {Verdict: true, Allowed: true},
	`{"status":{"allowed":true},"status":{}}`:                 {Verdict: true, Allowed: true},
	`{"status":{"allowed":true,"allowed":null}}`:              {Verdict: true, Allowed: true},
	`{"status":{"allowed":true,"allowed":false}}`:             {Verdict: true},
	`{"status":{"allowed":false,"reason":"no"}}`:              {Verdict: true},
	`{}`:                          {Verdict: true},
	`null`:                        {Verdict: true},
	`{"status":null}`:             {Verdict: true},
	`{"status":{}}`:               {Verdict: true},
	`{"status":{"Allowed":true}}`: {Verdict: true},
	`{"Status":{"allowed":true}}`: {Verdict: true},
	`{"allowed":true}`:            {Verdict: true},
	`{"x":[1,-0.5e+3,0,{"y":[[],{}]},true,false,null,"\ud800\n"]}`: {Verdict: true},
	``:                              {},
	` `:                             {},
	`true`:                          {},
	`[]`:                            {},
	`"allowed"`:                     {},
	`nullx`:                         {},
	`{"status":{"allowed":"true"}}`: {},
	`{"status":{"allowed":1}}`:      {},
	`{"status":true}`:               {},
	`{"status":["allowed"]}`:        {},
	`{"kind":"Pod","status":{"allowed":true}}`:           {},
	`{"kind":1,"status":{"allowed":true}}`:               {},
	`{"apiVersion":"imagepolicy.k8s.io/v1","status":{}}`: {},
	`{"status":{"allowed":true}}x`:                       {},
	`{"status":{"allowed":true}}{}`:                      {},
	`{"status":{"allowed":true}`:                         {},
	`{"status":{"allowed":true},}`:                       {},
	`{"status":{"allowed":true}"x":1}`:                   {},
	`{"x":01}`:                                           {},
	`{"x":1.}`:                                           {},
	`{"x":+1}`:                                           {},
	`{"x":.5}`:                                           {},
	`{"x":1e}`:                                           {},
	`{"x":-}`:                                            {},
	`{"x":[1,]}`:                                         {},
	`{"x":[1 2]}`:                                        {},
	`{"x":tru}`:                                          {},
	"{\"x\":\"\n\"}":                                     {},
	`{"x":"\q"}`:                                         {},
	`{"x":"\u12g4"}`:                                     {},
	`{"x":"`:                                             {},
	`{"x":"\`:                                            {},
	`{x:1}`:                                              {},
	`{1:1}`:                                              {},
	`{"x"}`:                                              {},
	`<html>`:                                             {},

	`{"spec":{"status":{"allowed":false}},"status":{"reason":"\"allowed\":false","x":[{"allowed":false}],"allowed":true}}`: {Verdict: true, Allowed: true},
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for body, want := range replies {
		allowed, ok := verdictOf([]byte(body))
		if allowed != want.Allowed || ok != want.Verdict {
			t.Errorf("%q: allowed %v, verdict %v", body, allowed, ok)
		}
	}
	deep := func(n int) []byte {
		return []byte(`{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	if _, ok := verdictOf(deep(maxDepth - 1)); !ok || !json.Valid(deep(maxDepth-1)) {
		t.Error("10,000 levels are JSON")
	}
	if _, ok := verdictOf(deep(maxDepth)); ok || json.Valid(deep(maxDepth)) {
		t.Error("more are not")
	}
}

func TestAnswerOf(t *testing.T) {
	t.Parallel()
	for status, verdict := range map[int]bool{
		200: true, 201: true, 202: true, 203: true, 205: true, 206: true,
		204: false, 207: false, 299: false, 304: false, 400: false, 403: false, 429: false, 500: false, 502: false, 503: false,
	} {
		want := bench.Answer{Status: status, Verdict: verdict, Allowed: verdict}
		if got := answerOf(status, []byte(allowedReply)); got != want {
			t.Errorf("%+v", got)
		}
	}
}

// FuzzVerdict holds the scanner against encoding/json, read token by token because its structs do not tell names apart
// by case.
func FuzzVerdict(f *testing.F) {
	for body := range replies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		allowed, ok := verdictOf(body)
		wantAllowed, want := slowVerdict(body)
		if allowed != wantAllowed || ok != want {
			t.Errorf("%q: allowed %v, verdict %v; want %v, %v", body, allowed, ok, wantAllowed, want)
		}
	})
}

func slowVerdict(body []byte) (allowed, ok bool) {
	if !json.Valid(body) {
		return false, false
	}
	ok = true
	null := func(raw json.RawMessage) bool { return string(raw) == "null" }
	str := func(raw json.RawMessage, want string) {
		var s any
		if err := json.Unmarshal(raw, &s); err != nil || s != want && s != "" && !null(raw) {
			ok = false
		}
	}
	isObject := members(body, func(name string, raw json.RawMessage) {
		switch name {
		case "kind":
			str(raw, "ImageReview")
		case "apiVersion":
			str(raw, "imagepolicy.k8s.io/v1alpha1")
		case "status":
			if !members(raw, func(name string, raw json.RawMessage) {
				if name == "allowed" && !null(raw) {
					if err := json.Unmarshal(raw, &allowed); err != nil {
						ok = false
					}
				}
			}) && !null(raw) {
				ok = false
			}
		}
	})
	if !isObject && !null(bytes.TrimSpace(body)) {
		ok = false
	}
	return allowed && ok, ok
}

// members calls f for each member of an object, in order.
func members(body []byte, f func(name string, raw json.RawMessage)) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return false
		}
		f(name.(string), raw)
	}
	return true
}
