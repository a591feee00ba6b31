//go:build !race

package wire

import (
	"strings"
	"testing"
)

// A Review that has seen such a body allocates nothing for the next one. The race detector allocates on its own.
func TestDecodeDoesNotAllocate(t *testing.T) {
	f := func(name, body string, images int) {
		t.Helper()
		var r Review
		buf := make([]byte, len(body))
		decode := func() {
			copy(buf, body)
			if err := r.Decode(buf); err != nil || len(r.Images) != images {
				t.Fatalf("%s: %d images, %v", name, len(r.Images), err)
			}
			r.Reset()
		}
		decode()
		if n := testing.AllocsPerRun(100, decode); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("two containers", recorded, 2)
	f("twenty", bodyOf(20, "registry.example.com/team/app:v1", ""), 20)
	f("three thousand", bodyOf(3000, "registry.example.com/team/app:v1", ""), 3000)
	f("escapes", bodyOf(20, `\u003c\u003E\n\ud83d\ude00\ud800`, `\u0026`), 20)
	f("bytes that are not UTF-8", bodyOf(20, "nginx\xff\xfe", "\xff"), 20)
	f("deep", nested(9_999, "[", "", "]"), 0)
	f("a megabyte of escapes", bodyOf(2, strings.Repeat(`\u003c`, 100_000), strings.Repeat(`\u003c`, 100_000)), 2)
}

// Nor does an Admission.
func TestAdmissionDecodeDoesNotAllocate(t *testing.T) {
	f := func(name, body string, images int) {
		t.Helper()
		var a Admission
		buf := make([]byte, len(body))
		decode := func() {
			copy(buf, body)
			if err := a.Decode(buf); err != nil || len(a.Images) != images {
				t.Fatalf("%s: %d images, %v", name, len(a.Images), err)
			}
			a.Reset()
		}
		decode()
		if n := testing.AllocsPerRun(100, decode); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, name := range names(t) {
		body := recordingOf(t, name)
		images := 4
		switch name {
		case "pod_delete":
			images = 0
		case "pod_debug":
			images = 5
		}
		f(name, body, images)
	}
	f("the kind last", latePodOf(`"containers":[{"image":"a"}],"volumes":[{}]`), 1)
	f("many", podOf(`"containers":[`+strings.Repeat(`{"image":"a"},`, 2999)+`{}],"imagePullSecrets":[`+strings.Repeat(`{"name":"a"},`, 2999)+`{}]`), 3000)
	f("escapes", latePodOf(`"\u0063ontainers":[{"\u0069mage":"\u003c\ud83d\ude00","name":"`+"\xff\xff"+`"}]`), 1)
	f("another kind", `{"request":{"kind":{"kind":"Node"},"object":{"spec":{"containers":[{}]}}}}`, 0)
}

func TestAppendAdmissionReplyDoesNotAllocate(t *testing.T) {
	a, r := pinned(t)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { AppendAdmissionReply(buf, a, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	reply := denial()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { AppendReply(buf, &reply) }); n != 0 {
		t.Errorf("AppendReply: %v allocations", n)
	}
	reply.Prepared, reply.Audit = Prepare(reply.Audit[:3]), reply.Audit[3:]
	if n := testing.AllocsPerRun(100, func() { AppendReply(buf, &reply) }); n != 0 {
		t.Errorf("AppendReply of prepared annotations: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { AppendStatus(buf, 403, "Forbidden", reply.Reason) }); n != 0 {
		t.Errorf("AppendStatus: %v allocations", n)
	}
}
