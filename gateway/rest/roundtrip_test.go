package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/kindtest"
	"navarch.dev/navarch/internal/testseed"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Whatever an object of any kind holds, client-go reads all of it from this
// package's lists and watches, in both encodings.
func TestClientsReadEveryKind(t *testing.T) {
	seed := int64(testseed.Of(t))
	for i, kind := range kinds.Default().All() {
		if kind.CreateOnly {
			continue
		}
		t.Run(kind.Group+"/"+kind.Resource, func(t *testing.T) {
			fill := kindtest.Filler(seed + int64(i))
			for range testseed.Times(t, 2) {
				obj := kind.New()
				fill(obj)
				obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
				for _, media := range []string{negotiate.JSON, negotiate.Protobuf} {
					f := negotiate.Format{Media: media}
					readEvents(t, kind, f, obj)
					readList(t, kind, f, obj)
				}
			}
		})
	}
}

// codecs read the kinds of client-go, and those that have clients of their own.
func codecs(t *testing.T) serializer.CodecFactory {
	t.Helper()
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, registrationv1.AddToScheme} {
		if err := add(all); err != nil {
			t.Fatal(err)
		}
	}
	return serializer.NewCodecFactory(all)
}

// inForm returns an object as the Store gives it.
func inForm(t *testing.T, f negotiate.Format, obj kinds.Object) *storev1.Object {
	t.Helper()
	if f.Media == negotiate.Protobuf {
		any, err := kinds.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		return &storev1.Object{Object: any}
	}
	b, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return &storev1.Object{Json: b}
}

func readEvents(t *testing.T, kind *kinds.Kind, f negotiate.Format, obj kinds.Object) {
	t.Helper()
	encoder := newEventEncoder(routes.Target{Kind: kind}, f)
	var body []byte
	types := []storev1.WatchEvent_Type{storev1.WatchEvent_TYPE_ADDED, storev1.WatchEvent_TYPE_MODIFIED, storev1.WatchEvent_TYPE_DELETED}
	for _, eventType := range types {
		var err error
		if body, err = encoder.event(body, &storev1.WatchEvent{Type: eventType, Object: inForm(t, f, obj)}); err != nil {
			t.Fatal(err)
		}
	}
	info, ok := runtime.SerializerInfoForMediaType(codecs(t).SupportedMediaTypes(), f.Media)
	if !ok {
		t.Fatalf("client-go does not know %s", f.Media)
	}
	frames := info.StreamSerializer.Framer.NewFrameReader(io.NopCloser(bytes.NewReader(body)))
	decoder := restwatch.NewDecoder(streaming.NewDecoder(frames, info.StreamSerializer.Serializer), codecs(t).UniversalDeserializer())
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		eventType, got, err := decoder.Decode()
		if err != nil || eventType != want {
			t.Fatalf("%s event %s: %v", f.Media, eventType, err)
		}
		same(t, f.Media+" event", got, obj)
	}
}

func readList(t *testing.T, kind *kinds.Kind, f negotiate.Format, obj kinds.Object) {
	t.Helper()
	item := inForm(t, f, obj)
	header := &storev1.ListHeader{
		ResourceVersion: "7", NextPageToken: "next", ApiVersion: kind.APIVersion(), Kind: kind.Kind + "List",
		ItemsSize: 2 * int64(envelope.ItemSize(len(item.GetObject().GetValue()))),
	}
	w := httptest.NewRecorder()
	body := newListBody(w, httptest.NewRequest(http.MethodGet, "/", nil), f)
	defer body.release()
	l := &lister{target: routes.Target{Kind: kind}, format: f, open: body.open}
	if err := body.end(l, l.all(header, []*storev1.Object{item, item})); err != nil {
		t.Fatal(err)
	}
	list, _, err := codecs(t).UniversalDeserializer().Decode(w.Body.Bytes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	items, err := meta.ExtractList(list)
	if err != nil || len(items) != 2 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	if m, err := meta.ListAccessor(list); err != nil || m.GetResourceVersion() != "7" || m.GetContinue() != "next" {
		t.Errorf("metadata %+v, %v", m, err)
	}
	for _, item := range items {
		item.GetObjectKind().SetGroupVersionKind(kind.GVK())
		same(t, f.Media+" list", item, obj)
	}
}

func same(t *testing.T, how string, got, want runtime.Object) {
	t.Helper()
	got.GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind())
	if !equality.Semantic.DeepEqual(got, want) {
		t.Fatalf("%s loses something (-want +got):\n%s", how, cmp.Diff(want, got))
	}
}

// Every kind that a client may send has a message, and its envelope says so.
func TestEnvelopesOfEveryKind(t *testing.T) {
	h := newHandler(nil)
	for i, kind := range kinds.Default().All() {
		obj := kind.New()
		kindtest.Filler(int64(i))(obj)
		any, err := kinds.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.openEnvelope(envelope.Seal(kind.GVK(), any.GetValue()))
		if err != nil || got.GetObject().GetTypeUrl() != any.GetTypeUrl() || !bytes.Equal(got.GetObject().GetValue(), any.GetValue()) {
			t.Errorf("%v: %s, %v", kind.GVK(), got.GetObject().GetTypeUrl(), err)
		}
	}
}
