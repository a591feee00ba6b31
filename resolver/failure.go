package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sluice/engine"
)

// failf makes a Failure. clause completes "registry <host> …" and is for everyone to read: it holds neither addresses
// nor secrets nor anything else that a registry sent.
func (e endpoint) failf(reason engine.Reason, err error, clause string, args ...any) *engine.Failure {
	return &engine.Failure{Reason: reason, Public: "registry " + e.host + " " + fmt.Sprintf(clause, args...), Err: err}
}

func (e endpoint) timeout(err error) *engine.Failure {
	return e.failf(engine.ReasonTimeout, err, "did not answer in time")
}

// statusFailure types an answer that is not the content.
func (e endpoint) statusFailure(a ask, rep reply) *engine.Failure {
	err := fmt.Errorf("%s: status %d%s", a.class, rep.status, errorCodes(rep.body))
	switch s := rep.status; {
	case s == http.StatusNotFound && a.class == classBlob:
		return e.failf(engine.ReasonImageNotFound, err, "has no such content")
	case s == http.StatusNotFound && a.class == classReferrers: // of a page that the registry itself had named
		return e.failf(engine.ReasonRegistryMalformed, err, "has only a part of its list of referrers")
	case s == http.StatusNotFound && a.class != classToken:
		return e.failf(engine.ReasonImageNotFound, err, "has no such image")
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return e.failf(engine.ReasonRegistryDenied, err, "refused access (%d)", s)
	case s == http.StatusTooManyRequests:
		return e.failf(engine.ReasonRegistryThrottled, err, "is limiting requests (429)")
	case s >= 500 || s == http.StatusRequestTimeout:
		return e.failf(engine.ReasonRegistryUnavailable, err, "failed (%d)", s)
	default:
		return e.failf(engine.ReasonRegistryMalformed, err, "sent an unexpected status (%d)", s)
	}
}

// errorCodes returns the codes of the distribution specification's error body for the log. Messages are left out:
// they are a registry's words, and may repeat what it was sent.
func errorCodes(body []byte) string {
	var b struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &b) != nil {
		return ""
	}
	var codes strings.Builder
	for i, e := range b.Errors {
		if i == 4 {
			break
		}
		if e.Code != "" && len(e.Code) <= 40 && strings.Trim(e.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" {
			codes.WriteString(" " + e.Code)
		}
	}
	return codes.String()
}

func invalidReference(err error) *engine.Failure {
	return &engine.Failure{Reason: engine.ReasonInvalidReference, Public: "the image reference is not valid", Err: err}
}

// asFailure types what came out of a joined load.
func asFailure(host string, err error) *engine.Failure {
	e := endpoint{host: host}
	var f *engine.Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return e.timeout(err)
	default: // a panic of ours
		return e.failf(engine.ReasonInternal, err, "could not be asked")
	}
}
