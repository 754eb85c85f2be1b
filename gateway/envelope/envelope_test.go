package envelope

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"navarch.dev/navarch/internal/kinds"
)

// TestKubernetesReadsIt decodes with Kubernetes' own serializer what this
// package writes, and the other way round.
func TestKubernetesReadsIt(t *testing.T) {
	s := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}}
	raw, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	got, gotKind, err := s.Decode(Seal(gvk, raw), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *gotKind != gvk || !cmp.Equal(got.(*corev1.Pod).ObjectMeta, pod.ObjectMeta) {
		t.Errorf("decoded %v %+v", gotKind, got)
	}

	var buf bytes.Buffer
	pod.SetGroupVersionKind(gvk)
	if err := s.Encode(pod, &buf); err != nil {
		t.Fatal(err)
	}
	openedKind, opened, err := Open(buf.Bytes())
	if err != nil || openedKind != gvk || !bytes.Equal(opened, raw) {
		t.Errorf("Open = %v, %q, %v; want %v, %q", openedKind, opened, err, gvk, raw)
	}
}

func TestListFraming(t *testing.T) {
	pods := corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b"}},
	}}
	var body []byte
	body, err := AppendListMeta(body, &pods.ListMeta)
	if err != nil {
		t.Fatal(err)
	}
	size := len(body)
	for i := range pods.Items {
		raw, err := pods.Items[i].Marshal()
		if err != nil {
			t.Fatal(err)
		}
		size += ItemSize(len(raw))
		body = append(ItemHead(body, len(raw)), raw...)
	}
	if size != len(body) {
		t.Errorf("computed size %d, true size %d", size, len(body))
	}
	var got corev1.PodList
	if err := got.Unmarshal(body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pods, got); diff != "" {
		t.Error(diff)
	}
}

func TestWatchEventFrame(t *testing.T) {
	frame := AppendWatchEvent(nil, "ADDED", corev1.SchemeGroupVersion.WithKind("Pod"), []byte("raw"))
	if n := binary.BigEndian.Uint32(frame); int(n) != len(frame)-4 {
		t.Fatalf("frame says %d bytes and has %d", n, len(frame)-4)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(frame[4:]); err != nil {
		t.Fatal(err)
	}
	gvk, raw, err := Open(e.Object.Raw)
	if e.Type != "ADDED" || gvk.Kind != "Pod" || string(raw) != "raw" || err != nil {
		t.Errorf("event %q holds %v %q, %v", e.Type, gvk, raw, err)
	}
}

func TestTypesKnowEveryKind(t *testing.T) {
	types := NewTypes(kinds.Default())
	for _, k := range kinds.Default().All() {
		url, ok := types.TypeURL(k.GVK())
		if !ok {
			t.Errorf("no message for %v", k.GVK())
		}
		if got, ok := types.KindOf(url); !ok || got != k.GVK() {
			t.Errorf("KindOf(%q) = %v, %v", url, got, ok)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("k8s\x00"))
	f.Add(Seal(corev1.SchemeGroupVersion.WithKind("Pod"), []byte("raw")))
	f.Add([]byte("k8s\x00\x0a\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		gvk, raw, err := Open(b)
		if err != nil {
			return
		}
		again, rawAgain, err := Open(Seal(gvk, raw))
		if err != nil || again != gvk && gvk.Version != "" && gvk.Kind != "" || !bytes.Equal(raw, rawAgain) {
			t.Errorf("sealing %v %q again gave %v %q, %v", gvk, raw, again, rawAgain, err)
		}
	})
}
