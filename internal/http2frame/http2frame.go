// Package http2frame puts HTTP/2 frames (RFC 9113) together in memory, for
// connections that send many with one write. Its functions append to a buffer and
// return it, as append does.
package http2frame

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// Append appends a frame's header; length bytes of content are to follow.
func Append(b []byte, kind http2.FrameType, flags http2.Flags, stream uint32, length int) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// AppendSettings appends a frame with settings.
func AppendSettings(b []byte, settings ...http2.Setting) []byte {
	const size = 6
	b = Append(b, http2.FrameSettings, 0, 0, size*len(settings))
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

// AppendWindowUpdate appends that so many more bytes may be sent on a stream, or with
// 0 on the connection.
func AppendWindowUpdate(b []byte, stream uint32, more int) []byte {
	b = Append(b, http2.FrameWindowUpdate, 0, stream, 4)
	return binary.BigEndian.AppendUint32(b, uint32(more))
}

// AppendReset appends the end of a stream.
func AppendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = Append(b, http2.FrameRSTStream, 0, stream, 4)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}
