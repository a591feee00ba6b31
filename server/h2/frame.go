package h2

import "encoding/binary"

// A frame's type, as in RFC 9113, section 6.
const (
	frameData = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

const (
	flagAck        = 0x01 // of SETTINGS and PING
	flagEndStream  = 0x01 // of DATA and HEADERS
	flagEndHeaders = 0x04
	flagPadded     = 0x08
	flagPriority   = 0x20
)

// Error codes, as in RFC 9113, section 7.
const (
	codeNone        = 0x0
	codeProtocol    = 0x1
	codeInternal    = 0x2
	codeFlowControl = 0x3
	codeClosed      = 0x5
	codeFrameSize   = 0x6
	codeRefused     = 0x7
	codeCancel      = 0x8
	codeCompression = 0x9
	codeCalm        = 0xb
)

// Settings, as in RFC 9113, section 6.5.2.
const (
	settingTableSize     = 0x1
	settingPush          = 0x2
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxHeaderList = 0x6
)

const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	frameHead     = 9         // bytes before a frame's payload
	maxFrame      = 16 << 10  // bytes of a payload, either way: what everyone must accept
	initialWindow = 65_535    // bytes, until something else is said
	maxWindow     = 1<<31 - 1 // bytes
	tableSize     = 4096      // bytes of either side's dynamic table
	maxID         = 1<<31 - 1 // of a stream
)

// appendHead appends a frame's first nine bytes.
func appendHead(dst []byte, length int, kind, flags byte, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), kind, flags, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendReset(dst []byte, id, code uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(dst, 4, frameReset, 0, id), code)
}

func appendWindowUpdate(dst []byte, id, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(dst, 4, frameWindowUpdate, 0, id), n)
}

func appendGoAway(dst []byte, last, code uint32) []byte {
	dst = appendHead(dst, 8, frameGoAway, 0, 0)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, last), code)
}

func appendPing(dst []byte, flags byte, data []byte) []byte {
	return append(appendHead(dst, 8, framePing, flags, 0), data[:8]...)
}

// appendSettings appends a SETTINGS frame of pairs of a setting and its value.
func appendSettings(dst []byte, pairs ...uint32) []byte {
	dst = appendHead(dst, len(pairs)/2*6, frameSettings, 0, 0)
	for i := 0; i < len(pairs); i += 2 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(pairs[i]))
		dst = binary.BigEndian.AppendUint32(dst, pairs[i+1])
	}
	return dst
}

// unpad takes the padding from the payload of a DATA or HEADERS frame.
func unpad(flags byte, payload []byte) ([]byte, bool) {
	if flags&flagPadded == 0 {
		return payload, true
	}
	if len(payload) == 0 || int(payload[0]) >= len(payload) {
		return nil, false
	}
	return payload[1 : len(payload)-int(payload[0])], true
}
