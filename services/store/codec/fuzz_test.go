package codec_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

// FuzzDecodeJSON: whatever a body holds, decoding it ends in an object or an
// error, and an object that was decoded can be stored and read again.
func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1}}`))
	f.Add([]byte(`{"spec":{"replicas":1,"replicas":2},"x":null}`))
	f.Add([]byte(`{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"},"spec":{"strategy":{"rollingUpdate":{"maxSurge":"25%"}}}}`))
	f.Add([]byte(`[]`))
	kind, err := kinds.Default().ForObject(&appsv1.Deployment{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		obj := kind.New()
		if _, err := codec.DecodeJSON(body, obj, kind.GVK(), storev1.FieldValidation_FIELD_VALIDATION_WARN); err != nil {
			return
		}
		draft, err := cache.NewDraft(kind, "/k", obj, cache.Envelope{})
		if err != nil {
			return
		}
		v, err := cache.Decode(kind, backend.KeyValue{Key: "/k", Value: draft.Value(), Revision: 7})
		if err != nil {
			t.Fatalf("what was stored cannot be read: %v", err)
		}
		if v.Object().GetResourceVersion() != "7" {
			t.Errorf("resourceVersion %q", v.Object().GetResourceVersion())
		}
	})
}

// FuzzDecodeProtobuf: a hostile message is an error, never a panic.
func FuzzDecodeProtobuf(f *testing.F) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	b, err := pod.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	kind, err := kinds.Default().ForObject(pod)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		any := &anypb.Any{TypeUrl: "type.googleapis.com/k8s.io.api.core.v1.Pod", Value: body}
		_, _ = codec.Decode(&storev1.Object{Object: any}, kind.New(), kind.GVK(), storev1.FieldValidation_FIELD_VALIDATION_STRICT)
	})
}

func FuzzParseSelector(f *testing.F) {
	f.Add("a=b,c!=d,e in (f,g),!h", "metadata.name=x,spec.nodeName!=y")
	f.Add("a in (", "=")
	pod := &corev1.Pod{}
	kind, err := kinds.Default().ForObject(pod)
	if err != nil {
		f.Fatal(err)
	}
	draft, err := cache.NewDraft(kind, "/k", pod, cache.Envelope{})
	if err != nil {
		f.Fatal(err)
	}
	v := draft.At(1)
	f.Fuzz(func(_ *testing.T, labels, fields string) {
		if s, err := codec.ParseSelector(kind, labels, fields); err == nil {
			s.Matches(v)
		}
	})
}

func FuzzParsePageToken(f *testing.F) {
	f.Add(codec.PageToken{Revision: 12, After: "default/a"}.String())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := codec.ParsePageToken(s)
		if err != nil {
			return
		}
		again, err := codec.ParsePageToken(token.String())
		if err != nil || again != token {
			t.Errorf("%+v became %+v, %v", token, again, err)
		}
	})
}
