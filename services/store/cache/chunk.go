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

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// chunk is some neighbouring objects of a list, compressed.
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
			ends := maphash.String(keySeed, v.Key)%chunkLength == 0 || i+1-begin == maxChunkLength || size >= maxChunkSize
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
	return func(yield func(*storev1.Chunk, error) bool) {
		for r := range runs(versions) {
			c, err := r.chunk(e)
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
func (r run) chunk(e storev1.Encoding) (*chunk, error) {
	first := r.versions[0]
	m := first.recall()
	kept := m.chunkOf(e, r.cut)
	old := kept.Load()
	if old != nil && old.holds(r.versions) {
		return old, nil
	}
	c, err := r.deflate(e)
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
	return wrapperCost + cap(c.message.GetBlocks()) + 8*cap(c.versions)
}

// deflate makes the run's chunk.
func (r run) deflate(e storev1.Encoding) (*chunk, error) {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.reset()
	c := &chunk{message: new(storev1.Chunk), versions: make([]uint64, len(r.versions))}
	for i, v := range r.versions {
		c.versions[i] = v.serial
		if err := d.add(v, e, i == 0); err != nil {
			return nil, err
		}
	}
	if err := d.writer.Flush(); err != nil {
		return nil, fmt.Errorf("compress a list: %w", err)
	}
	c.message.Blocks, c.message.Size, c.message.Crc32 = bytes.Clone(d.blocks.Bytes()), d.size, d.crc
	return c, nil
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
func (d *deflater) add(v *Version, e storev1.Encoding, first bool) error {
	obj, err := v.Encode(Form{Encoding: e})
	if err != nil {
		return err
	}
	d.head = d.head[:0]
	content := obj.GetJson()
	switch {
	case e != storev1.Encoding_ENCODING_JSON:
		content = obj.GetObject().GetValue()
		d.head = protowire.AppendTag(d.head, itemsField, protowire.BytesType)
		d.head = protowire.AppendVarint(d.head, uint64(len(content)))
	case !first:
		d.head = append(d.head, ',')
	}
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

// ItemSize returns how many bytes a message takes as an item of a list message.
func ItemSize(message int) int { return protowire.SizeTag(itemsField) + protowire.SizeBytes(message) }

// WireSize returns the length of the object's Protobuf message.
func (v *Version) WireSize() int { return len(v.wire) }
