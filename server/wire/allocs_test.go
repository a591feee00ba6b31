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
