package cache

import (
	"bytes"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/flate"
	"google.golang.org/protobuf/encoding/protowire"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func listOf(t testing.TB, b *Budget, length int) []*Version {
	t.Helper()
	var out []*Version
	for n := range length {
		out = append(out, stored(t, b, n))
	}
	slices.SortFunc(out, func(a, b *Version) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return out
}

func chunksOf(t *testing.T, versions []*Version, e storev1.Encoding) []*storev1.Chunk {
	t.Helper()
	var out []*storev1.Chunk
	for c, err := range Chunks(versions, e) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// unpack returns what a chunk holds, by itself.
func unpack(t *testing.T, c *storev1.Chunk) []byte {
	t.Helper()
	const last = "\x01\x00\x00\xff\xff" // an empty block, marked as the last
	got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(c.GetBlocks()), bytes.NewReader([]byte(last)))))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != c.GetSize() || crc32.ChecksumIEEE(got) != c.GetCrc32() {
		t.Errorf("%d bytes with the checksum %08x, the chunk says %d and %08x", len(got), crc32.ChecksumIEEE(got), c.GetSize(), c.GetCrc32())
	}
	return got
}

func TestChunksHoldTheList(t *testing.T) {
	versions := listOf(t, NewBudget(64<<20), 500)
	t.Run("JSON", func(t *testing.T) {
		var got, want [][]byte
		for _, c := range chunksOf(t, versions, storev1.Encoding_ENCODING_JSON) {
			got = append(got, unpack(t, c))
		}
		for _, v := range versions {
			b, err := v.JSON()
			if err != nil {
				t.Fatal(err)
			}
			head, rest := v.kind.ItemCut().Cut(nil, b)
			want = append(want, append(head, rest...))
		}
		if comma := []byte(","); !bytes.Equal(bytes.Join(got, comma), bytes.Join(want, comma)) {
			t.Error("the chunks with commas between them are not the items with commas between them")
		}
	})
	t.Run("Protobuf", func(t *testing.T) {
		var got, want []byte
		for _, c := range chunksOf(t, versions, storev1.Encoding_ENCODING_PROTOBUF) {
			got = append(got, unpack(t, c)...)
		}
		size := 0
		for _, v := range versions {
			want = protowire.AppendTag(want, itemsField, protowire.BytesType)
			want = protowire.AppendBytes(want, v.wire)
			size += ItemSize(v.WireSize())
		}
		if !bytes.Equal(got, want) || size != len(want) {
			t.Errorf("the chunks hold %d bytes that are not the items' %d; their sizes are %d in sum", len(got), len(want), size)
		}
		var joined []byte
		for c, err := range Joined(versions) {
			if err != nil || c.GetSize() != int64(len(c.GetContent())) || cap(c.GetContent()) > len(c.GetContent()) {
				t.Fatalf("a chunk of %d bytes says %d: %v", len(c.GetContent()), c.GetSize(), err)
			}
			joined = append(joined, c.GetContent()...)
		}
		if !bytes.Equal(joined, want) {
			t.Errorf("the joined chunks hold %d bytes that are not the items' %d", len(joined), len(want))
		}
	})
}

// Lists share chunks, whichever pages are read between them; a change costs the
// chunk that it is in.
func TestChunksAreKept(t *testing.T) {
	for name, chunksOf := range map[string]func(*testing.T, []*Version) []*storev1.Chunk{
		"compressed": func(t *testing.T, versions []*Version) []*storev1.Chunk {
			return chunksOf(t, versions, storev1.Encoding_ENCODING_JSON)
		},
		"joined": func(_ *testing.T, versions []*Version) (out []*storev1.Chunk) {
			for c := range Joined(versions) {
				out = append(out, c)
			}
			return out
		},
	} {
		t.Run(name, func(t *testing.T) { testChunksAreKept(t, chunksOf) })
	}
}

func testChunksAreKept(t *testing.T, chunksOf func(*testing.T, []*Version) []*storev1.Chunk) {
	b := NewBudget(64 << 20)
	versions := listOf(t, b, 1000)
	first := chunksOf(t, versions)
	if len(first) < 1000/maxChunkLength || len(first) > 100 {
		t.Fatalf("%d chunks of 1000 versions", len(first))
	}
	chunksOf(t, versions[:333])
	chunksOf(t, versions[333:])
	if again := chunksOf(t, versions); !slices.Equal(first, again) {
		t.Error("a list without changes has other chunks")
	}

	changed := slices.Clone(versions)
	changed[500] = stored(t, b, 5000)
	changed[500].Key = versions[500].Key
	changed[500].serial = newSerial(changed[500].Key)
	after := chunksOf(t, changed)
	if n := len(first) - shared(first, after); n != 1 {
		t.Errorf("a change made %d of %d chunks anew, want one", n, len(first))
	}

	fewer := slices.Delete(slices.Clone(versions), 500, 501)
	if n := len(first) - shared(first, chunksOf(t, fewer)); n > 4 { // mostly one; several where chunks ended because they were long enough
		t.Errorf("a removal made %d of %d chunks anew", n, len(first))
	}
}

func shared(a, b []*storev1.Chunk) int {
	n := 0
	for _, c := range a {
		if slices.Contains(b, c) {
			n++
		}
	}
	return n
}

func TestChunksAreForgotten(t *testing.T) {
	const limit = 1 << 20
	b := NewBudget(limit)
	versions := listOf(t, b, 2000)
	for range 3 {
		for _, e := range []storev1.Encoding{storev1.Encoding_ENCODING_JSON, storev1.Encoding_ENCODING_PROTOBUF} {
			chunksOf(t, versions, e)
			for range Joined(versions) { // which are kept as well
			}
			if got := b.sum(); got > limit {
				t.Fatalf("the budget of %d bytes holds %d", limit, got)
			}
		}
	}
	held := int64(0)
	for _, v := range versions {
		if m := v.memo.Load(); m != nil {
			held += m.cost.Load()
		}
	}
	if held != b.sum() {
		t.Errorf("what is held costs %d bytes, the budget counts %d", held, b.sum())
	}
}

// BenchmarkProtobufList reads a list of whole objects, object by object and in
// joined chunks, as it is written to a client.
func BenchmarkProtobufList(b *testing.B) {
	versions := listOf(b, NewBudget(1<<30), 5000)
	var body bytes.Buffer
	for name, read := range map[string]func() error{
		"objects": func() error {
			for _, v := range versions {
				obj, err := v.Encode(Form{})
				if err != nil {
					return err
				}
				body.Write(appendItemHead(body.AvailableBuffer(), len(obj.GetObject().GetValue())))
				body.Write(obj.GetObject().GetValue())
			}
			return nil
		},
		"joined": func() error {
			for c, err := range Joined(versions) {
				if err != nil {
					return err
				}
				body.Write(c.GetContent())
			}
			return nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				body.Reset()
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(body.Len()))
		})
	}
}
