package reply

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
)

// Splice writes a gzip stream of parts that are compressed already, with short
// ones between them that are not (RFC 1951, RFC 1952). It is a single member,
// since there are clients that read no further. Close it to end the stream.
type Splice struct {
	w     io.Writer
	begun bool
	crc   uint32
	size  uint32 // modulo 2^32, as the format has it
	head  []byte
}

// NewSplice returns a stream that is written to w.
func NewSplice(w io.Writer) *Splice { return &Splice{w: w} }

// gzipHeader says: deflate, no name, no time, fastest, unknown system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

func (s *Splice) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	_, err := s.w.Write(gzipHeader)
	return err
}

// The first byte of a stored block: its type and whether it is the last.
const (
	stored     = 0
	storedLast = 1
)

// Write adds bytes as they are.
func (s *Splice) Write(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	written := 0
	for written < len(p) {
		part := p[written:min(len(p), written+math.MaxUint16)]
		if err := s.block(stored, part); err != nil {
			return written, err
		}
		written += len(part)
	}
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p)
	s.size += uint32(len(p))
	return written, nil
}

// block writes a stored block, which begins and ends at a byte.
func (s *Splice) block(kind byte, p []byte) error {
	length := uint16(len(p))
	s.head = append(s.head[:0], kind)
	s.head = binary.LittleEndian.AppendUint16(s.head, length)
	s.head = binary.LittleEndian.AppendUint16(s.head, ^length)
	if _, err := s.w.Write(s.head); err != nil {
		return err
	}
	_, err := s.w.Write(p)
	return err
}

// Deflated adds blocks that are compressed, as the Store's message Chunk has
// them, of content with a length and a checksum.
func (s *Splice) Deflated(blocks []byte, size int64, crc uint32) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.crc = joinCRC(s.crc, crc, size)
	s.size += uint32(size)
	_, err := s.w.Write(blocks)
	return err
}

// Close ends the stream. It does not close the writer.
func (s *Splice) Close() error {
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.block(storedLast, nil); err != nil {
		return err
	}
	s.head = binary.LittleEndian.AppendUint32(s.head[:0], s.crc)
	s.head = binary.LittleEndian.AppendUint32(s.head, s.size)
	_, err := s.w.Write(s.head)
	return err
}

// joinCRC returns the CRC-32 of two contents one after the other, of which the
// second has a length. A CRC is a remainder of polynomials over GF(2): that of
// the first is multiplied by x to the power of the second's bits.
func joinCRC(first, second uint32, length int64) uint32 {
	shift := uint32(1) << 31 // x^0; the highest bit is the lowest power
	power := uint32(1) << 23 // x^8, for a byte
	for n := length; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = multiply(shift, power)
		}
		power = multiply(power, power)
	}
	return multiply(shift, first) ^ second
}

// multiply returns the product of two polynomials modulo that of the CRC.
func multiply(a, b uint32) uint32 {
	product := uint32(0)
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return product
}
