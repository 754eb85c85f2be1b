package store

import (
	"iter"

	"google.golang.org/grpc"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

const (
	// batchBytes is about how large a message of a list or a watch gets: large
	// enough to be worth a message, small enough for every client's limit.
	batchBytes = 512 << 10
	// chunkBatchBytes is the same of chunks, which are to be under way while the
	// next are made.
	chunkBatchBytes = 64 << 10
	// deflateFrom is how long the messages of a list's objects are in sum from
	// which it is compressed.
	deflateFrom = 128 << 10
)

// listSender sends the objects of a list.
type listSender struct {
	// all says that they are not picked out of others.
	all      bool
	versions []*cache.Version
	form     cache.Form
	stream   grpc.ServerStreamingServer[storev1.ListResponse]
}

// whole says whether whole objects are sent.
func (l *listSender) whole() bool {
	p := l.form.Projection
	return p == storev1.Projection_PROJECTION_UNSPECIFIED || p == storev1.Projection_PROJECTION_OBJECT
}

// long says whether the list is worth compressing. Only whole objects are: of
// all else little is kept between one list and the next.
func (l *listSender) long() bool {
	if !l.whole() {
		return false
	}
	size := 0
	for _, v := range l.versions {
		if size += v.WireSize(); size >= deflateFrom {
			return true
		}
	}
	return false
}

// send sends the objects as far as possible as they are asked for.
func (l *listSender) send(h *storev1.ListHeader, packing storev1.Packing) error {
	switch {
	case packing == storev1.Packing_PACKING_DEFLATED && l.long():
		h.Deflated = true
		return l.packed(h, cache.Chunks(l.versions, l.form.Encoding))
	// A picked list would take the place of the chunks that others share.
	case packing == storev1.Packing_PACKING_JOINED && l.form.Encoding != storev1.Encoding_ENCODING_JSON && l.all && l.long():
		return l.packed(h, cache.Joined(l.versions))
	}
	return l.plain(h)
}

func (l *listSender) header(h *storev1.ListHeader) error {
	return l.stream.Send(&storev1.ListResponse{Message: &storev1.ListResponse_Header{Header: h}})
}

// plain sends the objects as they are.
func (l *listSender) plain(h *storev1.ListHeader) error {
	if l.form.Encoding != storev1.Encoding_ENCODING_JSON && !l.form.Table() {
		var err error
		if h.ItemsSize, err = l.itemsSize(); err != nil {
			return err
		}
	}
	if err := l.header(h); err != nil {
		return err
	}
	b := batch[*storev1.Object]{most: batchBytes, send: l.objects}
	for _, v := range l.versions {
		obj, err := v.Encode(l.form)
		if err != nil {
			return err
		}
		if err := b.add(obj, weight(obj)); err != nil {
			return err
		}
	}
	return b.flush()
}

// itemsSize returns how long the objects are as items of a Protobuf list.
func (l *listSender) itemsSize() (int64, error) {
	sum := int64(0)
	for _, v := range l.versions {
		size := v.WireSize()
		if !l.whole() {
			obj, err := v.Encode(l.form)
			if err != nil {
				return 0, err
			}
			size = len(obj.GetObject().GetValue())
		}
		sum += int64(cache.ItemSize(size))
	}
	return sum, nil
}

func (l *listSender) objects(objects []*storev1.Object) error {
	return l.stream.Send(&storev1.ListResponse{Message: &storev1.ListResponse_Objects{Objects: &storev1.ObjectBatch{Objects: objects}}})
}

// packed sends the objects in chunks.
func (l *listSender) packed(h *storev1.ListHeader, chunks iter.Seq2[*storev1.Chunk, error]) error {
	if l.form.Encoding != storev1.Encoding_ENCODING_JSON {
		made, err := collect(chunks)
		if err != nil {
			return err
		}
		for _, c := range made {
			h.ItemsSize += c.GetSize()
		}
		chunks = made.all
	}
	if err := l.header(h); err != nil {
		return err
	}
	b := batch[*storev1.Chunk]{most: chunkBatchBytes, send: l.chunks}
	for c, err := range chunks {
		if err != nil {
			return err
		}
		if err := b.add(c, len(c.GetBlocks())+len(c.GetContent())); err != nil {
			return err
		}
	}
	return b.flush()
}

func (l *listSender) chunks(chunks []*storev1.Chunk) error {
	return l.stream.Send(&storev1.ListResponse{Message: &storev1.ListResponse_Chunks{Chunks: &storev1.ChunkBatch{Chunks: chunks}}})
}

// madeChunks are chunks whose size is known.
type madeChunks []*storev1.Chunk

func collect(chunks iter.Seq2[*storev1.Chunk, error]) (madeChunks, error) {
	var made madeChunks
	for c, err := range chunks {
		if err != nil {
			return nil, err
		}
		made = append(made, c)
	}
	return made, nil
}

func (m madeChunks) all(yield func(*storev1.Chunk, error) bool) {
	for _, c := range m {
		if !yield(c, nil) {
			return
		}
	}
}

// batch gathers parts of messages until they are large enough to be sent.
type batch[T any] struct {
	most  int // bytes
	send  func([]T) error
	parts []T
	size  int
}

func (b *batch[T]) add(part T, size int) error {
	b.parts = append(b.parts, part)
	if b.size += size; b.size < b.most {
		return nil
	}
	return b.flush()
}

func (b *batch[T]) flush() error {
	if len(b.parts) == 0 {
		return nil
	}
	parts := b.parts
	b.parts, b.size = make([]T, 0, len(parts)), 0
	return b.send(parts)
}

// weight is about how large an object is in a message.
func weight(obj *storev1.Object) int {
	return len(obj.GetJson()) + len(obj.GetObject().GetValue()) + 64
}
