package wire

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// Reply is the verdict on a review.
type Reply struct {
	Allowed bool
	Reason  []byte // for the pod's author; left out if empty. The apiserver shows it on a denial only

	// For the audit event; left out if both are empty. Prepared is annotations as Prepare has written them, which come
	// before those of Audit.
	Prepared []byte
	Audit    []Annotation
}

// Annotation is one line that the apiserver writes to the audit event of a request. The key is 1 to 63 characters of
// [A-Za-z0-9._-]; the apiserver drops others. Neither is checked here.
type Annotation struct {
	Key   string
	Value []byte
	Plain bool // Value is known to be ASCII that needs no escape. It is not looked at again
}

const (
	allowed = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","status":{"allowed":true`
	denied  = `{"kind":"ImageReview","apiVersion":"imagepolicy.k8s.io/v1alpha1","status":{"allowed":false`
	failure = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"`
)

// AppendReply appends the verdict as an ImageReview of imagepolicy.k8s.io/v1alpha1 with kind, apiVersion and status.
// Whatever bytes reason and annotations hold, what is appended is valid JSON in UTF-8; bytes that are not UTF-8 come
// out as U+FFFD. It keeps nothing of r.
func AppendReply(dst []byte, r *Reply) []byte {
	if r.Allowed {
		dst = append(dst, allowed...)
	} else {
		dst = append(dst, denied...)
	}
	if len(r.Reason) > 0 {
		dst = append(dst, `,"reason":"`...)
		dst = appendEscaped(dst, r.Reason)
		dst = append(dst, '"')
	}
	if len(r.Prepared) > 0 || len(r.Audit) > 0 {
		dst = appendAnnotations(dst, r.Prepared, r.Audit)
	}
	return append(dst, "}}"...)
}

// Prepare writes annotations, at least one, as they stand in any number of replies: see [Reply].
func Prepare(audit []Annotation) []byte { return appendAudit(nil, audit, true) }

// appendAnnotations appends prepared annotations and others, at least one in all.
func appendAnnotations(dst, prepared []byte, audit []Annotation) []byte {
	dst = append(dst, prepared...)
	return append(appendAudit(dst, audit, len(prepared) == 0), '}')
}

// appendAudit appends annotations, as the first ones or behind others. The brace behind the last is the caller's.
func appendAudit(dst []byte, audit []Annotation, first bool) []byte {
	for i := range audit {
		if first {
			dst = append(dst, `,"auditAnnotations":{"`...)
		} else {
			dst = append(dst, `,"`...)
		}
		first = false
		dst = appendEscaped(dst, bytesOf(audit[i].Key))
		dst = append(dst, `":"`...)
		if audit[i].Plain {
			dst = append(dst, audit[i].Value...)
		} else {
			dst = appendEscaped(dst, audit[i].Value)
		}
		dst = append(dst, '"')
	}
	return dst
}

// AppendStatus appends a failure as a metav1.Status, whose message the apiserver passes on as it is. code is that of
// the HTTP response, reason one of the API's words such as Forbidden. What is appended is valid JSON, as in
// [AppendReply].
func AppendStatus[R, M string | []byte](dst []byte, code int, reason R, message M) []byte {
	dst = append(dst, failure...)
	dst = appendEscaped(dst, []byte(message))
	dst = append(dst, `","reason":"`...)
	dst = appendEscaped(dst, []byte(reason))
	dst = append(dst, `","code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	return append(dst, '}')
}

// bytesOf looks at a string as bytes, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// appendEscaped appends s as it stands between the quotes of a JSON string. Beside what JSON asks for it escapes U+2028
// and U+2029, which end a line in scripts and logs.
func appendEscaped(dst, s []byte) []byte {
	done := 0 // s[:done] is appended
	for i := plain(s); i < len(s); i += plain(s[i:]) {
		char, size := utf8.DecodeRune(s[i:])
		invalid := char == utf8.RuneError && size == 1
		if char < utf8.RuneSelf || char == '\u2028' || char == '\u2029' || invalid {
			dst = append(dst, s[done:i]...)
			dst = appendEscape(dst, char)
			done = i + size
		}
		i += size
	}
	return append(dst, s[done:]...)
}

// plain counts the bytes at the beginning of s that are ASCII and need no escape.
func plain(s []byte) int {
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		x := binary.LittleEndian.Uint64(s[i:])
		if m := specials(x) | x&highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(s) && s[i] != '"' && s[i] != '\\' && s[i] >= ' ' && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// appendEscape appends the escape for a character of no more than 16 bits.
func appendEscape(dst []byte, char rune) []byte {
	switch char {
	case '"', '\\':
		return append(dst, '\\', byte(char))
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[char>>12&15], hex[char>>8&15], hex[char>>4&15], hex[char&15])
}
