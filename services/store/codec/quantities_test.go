package codec_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/codec"
)

// TestEndlessQuantities sends, in both forms, a quantity that would be read for
// hours.
func TestEndlessQuantities(t *testing.T) {
	const endless, stand = "1e-2000000000", "7777777777777"
	pod := &corev1.Pod{Spec: corev1.PodSpec{Overhead: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(stand)}}}
	message, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for form, body := range map[string]*storev1.Object{
		"JSON": {Json: []byte(`{"spec":{"overhead":{"cpu":"` + endless + `"}}}`)},
		"Protobuf": {Object: &anypb.Any{
			TypeUrl: "type.googleapis.com/k8s.io.api.core.v1.Pod", Value: bytes.ReplaceAll(message, []byte(stand), []byte(endless)),
		}},
	} {
		_, err := codec.Decode(body, &corev1.Pod{}, corev1.SchemeGroupVersion.WithKind("Pod"), storev1.FieldValidation_FIELD_VALIDATION_WARN)
		const want = `Pod in version "v1" cannot be handled as a Pod: spec.overhead[cpu]: the exponent of quantity "1e-2000000000" has more than 3 digits`
		if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", form, err)
		}
	}
}
