package cache

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
	"google.golang.org/protobuf/encoding/protowire"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// pack is how a chunk holds objects.
type pack int

const (
	deflatedProtobuf pack = iota
	deflatedJSON
	joinedProtobuf
	packs // how many there are
)

// chunk is some neighbouring objects of a list.
type chunk struct {
	message *storev1.Chunk
	// versions are the serial numbers of what it holds.
	versions []uint64
}

const (
	// chunkLength is how many versions a chunk holds on average: enough that the
	// next finds its like among those before it, few enough that little needs to
	// be compressed anew when one of them changes.
	chunkLength = 64
	// maxChunkLength and maxChunkSize bound a chunk; the size is in bytes of the
	// objects' messages.
	maxChunkLength = 4 * chunkLength
	maxChunkSize   = 1 << 20
)

// keySeed makes it unforeseeable after which keys chunks end.
var keySeed = maphash.MakeSeed()

func endsChunk(key string) bool { return maphash.String(keySeed, key)%chunkLength == 0 }

// run is some neighbouring versions of a list that make a chunk.
type run struct {
	versions []*Version
	// cut says that the list ends within the chunk that these versions would
	// make with those after them.
	cut bool
}

// runs parts a list's versions. Where a chunk ends is a matter of the keys, so
// that lists share chunks though one begins earlier or has an object more.
func runs(versions []*Version) iter.Seq[run] {
	return func(yield func(run) bool) {
		begin, size := 0, 0
		for i, v := range versions {
			size += len(v.wire)
			ends := v.serial%2 == 1 || i+1-begin == maxChunkLength || size >= maxChunkSize
			if !ends && i+1 < len(versions) {
				continue
			}
			if !yield(run{versions[begin : i+1], !ends}) {
				return
			}
			begin, size = i+1, 0
		}
	}
}

// Chunks returns a list's versions, of one kind and ordered by key, as compressed
// chunks of whole objects in an encoding. The chunks are shared and must not be
// changed.
func Chunks(versions []*Version, e storev1.Encoding) iter.Seq2[*storev1.Chunk, error] {
	if e == storev1.Encoding_ENCODING_JSON {
		return chunks(versions, deflatedJSON)
	}
	return chunks(versions, deflatedProtobuf)
}

// Joined is Chunks for chunks of Protobuf that are not compressed: what lies one
// behind the other is read faster than objects all over the memory.
func Joined(versions []*Version) iter.Seq2[*storev1.Chunk, error] {
	return chunks(versions, joinedProtobuf)
}

func chunks(versions []*Version, p pack) iter.Seq2[*storev1.Chunk, error] {
	return func(yield func(*storev1.Chunk, error) bool) {
		for r := range runs(versions) {
			c, err := r.chunk(p)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(c.message, nil) {
				return
			}
		}
	}
}

// chunk returns the run's chunk, the one that is kept if that is still of the
// same versions.
func (r run) chunk(p pack) (*chunk, error) {
	first := r.versions[0]
	m := first.recall()
	kept := m.chunkOf(p, r.cut)
	old := kept.Load()
	if old != nil && old.holds(r.versions) {
		return old, nil
	}
	c, err := r.pack(p)
	if err != nil {
		return nil, err
	}
	if kept.CompareAndSwap(old, c) {
		first.charge(m, c.cost()-old.cost())
	}
	return c, nil
}

// holds says whether the chunk is of these versions.
func (c *chunk) holds(versions []*Version) bool {
	return slices.EqualFunc(c.versions, versions, func(serial uint64, v *Version) bool { return serial == v.serial })
}

// cost is about how many bytes the chunk takes.
func (c *chunk) cost() int {
	if c == nil {
		return 0
	}
	return wrapperCost + cap(c.message.GetBlocks()) + cap(c.message.GetContent()) + 8*cap(c.versions)
}

// pack makes the run's chunk.
func (r run) pack(p pack) (*chunk, error) {
	c := &chunk{message: new(storev1.Chunk), versions: make([]uint64, len(r.versions))}
	for i, v := range r.versions {
		c.versions[i] = v.serial
	}
	if p == joinedProtobuf {
		r.join(c.message)
		return c, nil
	}
	return c, r.deflate(c.message, p)
}

// join puts the objects into a message as they are.
func (r run) join(message *storev1.Chunk) {
	size := 0
	for _, v := range r.versions {
		size += ItemSize(len(v.wire))
	}
	content := make([]byte, 0, size)
	for _, v := range r.versions {
		content = append(appendItemHead(content, len(v.wire)), v.wire...)
	}
	message.Content, message.Size = content, int64(size)
}

// deflate puts the objects into a message compressed.
func (r run) deflate(message *storev1.Chunk, p pack) error {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.reset()
	cut := r.versions[0].kind.ItemCut()
	for i, v := range r.versions {
		if err := d.add(v, p, cut, i == 0); err != nil {
			return err
		}
	}
	if err := d.writer.Flush(); err != nil {
		return fmt.Errorf("compress a list: %w", err)
	}
	message.Blocks, message.Size, message.Crc32 = bytes.Clone(d.blocks.Bytes()), d.size, d.crc
	return nil
}

// deflater compresses one chunk after the other.
type deflater struct {
	writer *flate.Writer
	blocks bytes.Buffer
	head   []byte // what precedes an object
	size   int64
	crc    uint32
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	w, err := flate.NewWriter(&d.blocks, flate.BestSpeed)
	if err != nil {
		panic(fmt.Sprintf("the level of compression is wrong: %v", err))
	}
	d.writer = w
	return d
}}

func (d *deflater) reset() {
	d.blocks.Reset()
	d.writer.Reset(&d.blocks)
	d.size, d.crc = 0, 0
}

// add adds a version as it stands in a list.
func (d *deflater) add(v *Version, p pack, cut kinds.ItemCut, first bool) error {
	d.head = d.head[:0]
	if p == deflatedProtobuf {
		d.head = appendItemHead(d.head, len(v.wire))
		return d.write(d.head, v.wire)
	}
	content, err := v.JSON()
	if err != nil {
		return err
	}
	if !first {
		d.head = append(d.head, ',')
	}
	d.head, content = cut.Cut(d.head, content)
	return d.write(d.head, content)
}

func (d *deflater) write(parts ...[]byte) error {
	for _, p := range parts {
		d.size += int64(len(p))
		d.crc = crc32.Update(d.crc, crc32.IEEETable, p)
		if _, err := d.writer.Write(p); err != nil {
			return fmt.Errorf("compress a list: %w", err)
		}
	}
	return nil
}

// itemsField is the number of the field "items" of every Kubernetes list.
const itemsField = 2

// appendItemHead appends what precedes a message as an item of a list message.
func appendItemHead(b []byte, message int) []byte {
	b = protowire.AppendTag(b, itemsField, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(message))
}

// ItemSize returns how many bytes a message takes as an item of a list message.
func ItemSize(message int) int { return protowire.SizeTag(itemsField) + protowire.SizeBytes(message) }

// WireSize returns the length of the object's Protobuf message.
func (v *Version) WireSize() int { return len(v.wire) }
