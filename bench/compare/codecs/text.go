package codecs

import "unsafe"

// text looks at bytes that the parser owns as a string, as sluice's codec does with its own.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
