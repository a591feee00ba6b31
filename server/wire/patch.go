package wire

import (
	"encoding/base64"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// AdmissionReply is the answer to an AdmissionReview.
type AdmissionReply struct {
	UID     string // of the request; the apiserver refuses an answer with another
	Allowed bool

	// The status, which the apiserver shows on a denial only; left out if all three are empty.
	Code    int    // of HTTP, such as 403
	Reason  string // one of the API's words, such as Forbidden
	Message []byte // for who made the request

	// For who made the request, whatever the answer is. The apiserver cuts each at 256 characters once all are longer than
	// 4096. It drops one with control characters, so that they come out as spaces here. Empty ones are left out.
	Warnings [][]byte

	// As in a [Reply].
	Prepared []byte
	Audit    []Annotation

	// What is to be changed in request.object. Nothing is said of a patch if no change is left: a validating webhook may not
	// answer with one. There is none for an object of a kind that is not known.
	Patch []PatchOp
}

// PatchOp is what is to be changed about one image.
type PatchOp struct {
	Image      *Image // of Admission.Images
	Rewrite    string // the image to put in its place; empty if it stays
	AlwaysPull bool   // set the pull policy to Always, whether there is one or not
}

const answer = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"`

// AppendAdmissionReply appends the answer to a as an AdmissionReview of admission.k8s.io/v1. Whatever bytes it holds,
// what is appended is valid JSON, as in [AppendReply], and so is the patch (RFC 6902). It keeps nothing of a and r.
func AppendAdmissionReply(dst []byte, a *Admission, r *AdmissionReply) []byte {
	dst = append(dst, answer...)
	dst = appendEscaped(dst, bytesOf(r.UID))
	if r.Allowed {
		dst = append(dst, `","allowed":true`...)
	} else {
		dst = append(dst, `","allowed":false`...)
	}
	if r.Code != 0 || r.Reason != "" || len(r.Message) > 0 {
		dst = appendResult(dst, r)
	}
	if len(r.Patch) > 0 {
		dst = appendPatch(dst, a.pod(), r.Patch)
	}
	if len(r.Prepared) > 0 || len(r.Audit) > 0 {
		dst = appendAnnotations(dst, r.Prepared, r.Audit)
	}
	dst = appendWarnings(dst, r.Warnings)
	return append(dst, "}}"...)
}

// appendResult appends the status of a reply.
func appendResult(dst []byte, r *AdmissionReply) []byte {
	dst = append(dst, `,"status":{"metadata":{}`...)
	if !r.Allowed {
		dst = append(dst, `,"status":"Failure"`...)
	}
	if len(r.Message) > 0 {
		dst = append(dst, `,"message":"`...)
		dst = append(appendEscaped(dst, r.Message), '"')
	}
	if r.Reason != "" {
		dst = append(dst, `,"reason":"`...)
		dst = append(appendEscaped(dst, bytesOf(r.Reason)), '"')
	}
	if r.Code != 0 {
		dst = append(dst, `,"code":`...)
		dst = strconv.AppendInt(dst, int64(r.Code), 10)
	}
	return append(dst, '}')
}

// appendWarnings appends the list of warnings.
func appendWarnings(dst []byte, warnings [][]byte) []byte {
	begin := `,"warnings":["`
	for _, warning := range warnings {
		if len(warning) == 0 {
			continue
		}
		dst = append(dst, begin...)
		dst = appendLine(dst, warning)
		dst = append(dst, '"')
		begin = `,"`
	}
	if begin == `,"` {
		dst = append(dst, ']')
	}
	return dst
}

// appendLine is appendEscaped with a space for every control character.
func appendLine(dst, s []byte) []byte {
	done := 0 // s[:done] is appended
	for i := 0; i < len(s); {
		char, size := rune(s[i]), 1
		if char >= utf8.RuneSelf {
			char, size = utf8.DecodeRune(s[i:])
		}
		if unicode.IsControl(char) {
			dst = append(appendEscaped(dst, s[done:i]), ' ')
			done = i + size
		}
		i += size
	}
	return appendEscaped(dst, s[done:])
}

// appendPatch appends the patch, in base64, and its type; nothing if it has no operations. It is written behind dst
// first, as JSON, and from there behind itself in base64, so that it takes no memory of its own.
func appendPatch(dst []byte, pod string, ops []PatchOp) []byte {
	if pod == "" {
		return dst
	}
	const begin, end = `,"patch":"`, `","patchType":"JSONPatch"`
	unchanged := len(dst)
	dst = append(dst, begin...)
	start := len(dst)
	for i := range ops {
		image := ops[i].Image
		if ops[i].Rewrite != "" {
			field := "image"
			if image.List == Volumes {
				field = "image/reference"
			}
			dst = appendOp(dst, len(dst) == start, pod, image, field, ops[i].Rewrite)
		}
		if ops[i].AlwaysPull {
			field := "imagePullPolicy"
			if image.List == Volumes {
				field = "image/pullPolicy"
			}
			dst = appendOp(dst, len(dst) == start, pod, image, field, "Always")
		}
	}
	if len(dst) == start {
		return dst[:unchanged]
	}
	dst = append(dst, ']')
	size := base64.StdEncoding.EncodedLen(len(dst) - start)
	behind := len(dst)
	dst = slices.Grow(dst, size+len(end))[:behind+size]
	base64.StdEncoding.Encode(dst[behind:], dst[start:behind])
	copy(dst[start:], dst[behind:])
	return append(dst[:start+size], end...)
}

// appendOp appends one operation. That is an add, which also replaces what is there (RFC 6902, section 4.1).
func appendOp(dst []byte, first bool, pod string, image *Image, field, value string) []byte {
	if first {
		dst = append(dst, '[')
	} else {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"op":"add","path":"`...)
	dst = append(dst, pod...)
	dst = append(dst, image.List.member()...)
	dst = strconv.AppendInt(dst, int64(image.Index), 10)
	dst = append(dst, '/')
	dst = append(dst, field...)
	dst = append(dst, `","value":"`...)
	dst = appendEscaped(dst, bytesOf(value))
	return append(dst, `"}`...)
}

// member returns the list's name between slashes.
func (l List) member() string {
	switch l {
	case InitContainers:
		return "/initContainers/"
	case EphemeralContainers:
		return "/ephemeralContainers/"
	case Volumes:
		return "/volumes/"
	}
	return "/containers/"
}
