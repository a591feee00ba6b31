package client

import (
	"bytes"
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// field is a header of all requests.
type field struct{ name, value string }

// headerBlock is the headers of requests, encoded once: a first request on a connection puts them into the server's
// table, and those behind it refer to that table, as a client that encodes each request would too.
type headerBlock struct {
	first, again []byte
	begun        bool
}

// newHeaderBlock encodes the headers for a new connection, or without the table, which is then emptied.
func newHeaderBlock(fields []field, table bool) headerBlock {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	if !table {
		enc.SetMaxDynamicTableSize(0)
	}
	var blocks [3][]byte
	for i := range blocks {
		out.Reset()
		for _, f := range fields {
			_ = enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}) // a bytes.Buffer takes all
		}
		blocks[i] = bytes.Clone(out.Bytes())
	}
	if !bytes.Equal(blocks[1], blocks[2]) { // they do not fit into the table, and displace one another
		return newHeaderBlock(fields, false)
	}
	return headerBlock{first: blocks[0], again: blocks[1]}
}

// append appends the headers of a request with a body of some length.
func (b *headerBlock) append(to []byte, length int) []byte {
	if b.begun {
		to = append(to, b.again...)
	} else {
		b.begun = true
		to = append(to, b.first...)
	}
	// A literal without indexing, RFC 7541, 6.2.2, whose name is entry 28 of the static table: content-length.
	to = append(to, 0x0f, 28-15, 0)
	at := len(to)
	to = strconv.AppendInt(to, int64(length), 10)
	to[at-1] = byte(len(to) - at)
	return to
}

// plainStatus returns the status of a block of headers that does not change the decoder's table and whose status is one
// of those in the static table, which is what most answers have. Nothing else of the headers matters, so they need no
// decoding. Otherwise it returns 0.
func plainStatus(block []byte) int {
	if len(block) == 0 || block[0] < 0x88 || block[0] > 0x8e {
		return 0
	}
	status := [...]int{200, 204, 206, 304, 400, 404, 500}[block[0]-0x88]
	for i := 1; i < len(block); {
		c := block[i]
		i++
		switch {
		case c >= 0x80: // indexed, RFC 7541, 6.1
			if c == 0xff {
				return 0 // a number of several bytes: let the decoder do it
			}
			continue
		case c >= 0x20: // literal with indexing, or another size of the table: these change it
			return 0
		case c&0x0f == 0: // a literal with a name
			if i = skipString(block, i); i < 0 {
				return 0
			}
		case c&0x0f == 0x0f:
			if i >= len(block) || block[i] >= 0x80 {
				return 0
			}
			i++
		}
		if i = skipString(block, i); i < 0 {
			return 0
		}
	}
	return status
}

// skipString returns where a short string ends, or -1.
func skipString(block []byte, i int) int {
	if i >= len(block) || block[i]&0x7f == 0x7f {
		return -1
	}
	if i += 1 + int(block[i]&0x7f); i > len(block) {
		return -1
	}
	return i
}
