package interning_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client/interning"
)

// decodedBy returns a pod as a pool decodes it.
func decodedBy(t testing.TB, pool *interning.Pool, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	encoded, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out := new(corev1.Pod)
	if err := pool.Decode(encoded, out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDecodedPodsShareTheirSpecs(t *testing.T) {
	var pool interning.Pool
	// Of a DNS configuration nobody makes one unless the whole spec is.
	withDNS := func(template, n int) *corev1.Pod {
		pod := podOf(t, template, n)
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{pod.Labels["app"]}}
		return decoded(t, pod)
	}
	first := decodedBy(t, &pool, withDNS(1, 1))
	for _, c := range []struct {
		pod    *corev1.Pod
		shares bool
	}{
		{withDNS(1, 1), true}, {withDNS(1, 2), true}, {withDNS(2, 3), false}, {withDNS(1, 9), true},
	} {
		got := decodedBy(t, &pool, c.pod)
		if diff := cmp.Diff(c.pod, got); diff != "" {
			t.Errorf("pod %s (-want +got):\n%s", c.pod.Name, diff)
		}
		if shares := got.Spec.DNSConfig == first.Spec.DNSConfig; shares != c.shares {
			t.Errorf("pod %s shares the spec of %s: %v", c.pod.Name, first.Name, shares)
		}
	}
}

func TestDecodedPodsAreTrimmed(t *testing.T) {
	var pool interning.Pool
	encoded, err := podOf(t, 1, 1).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	without := func(pod *corev1.Pod) { pod.Spec.Volumes, pod.Status = nil, corev1.PodStatus{} }
	var trimmed, whole corev1.Pod
	for pod, trim := range map[*corev1.Pod]func(*corev1.Pod){&trimmed: without, &whole: nil} {
		if err := pool.Decode(encoded, pod, trim); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(podOf(t, 1, 1), &whole); diff != "" {
		t.Errorf("a pod whose like was trimmed (-want +got):\n%s", diff)
	}
	if len(trimmed.Spec.Volumes) > 0 || len(trimmed.Status.Conditions) > 0 {
		t.Errorf("the trimmed pod still has %v and %v", trimmed.Spec.Volumes, trimmed.Status)
	}
}

// Whatever is decoded, the pool says the same of it as the message's own code.
func FuzzDecode(f *testing.F) {
	for n := range 3 {
		encoded, err := podOf(f, n/2, n).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(append(encoded, encoded...)) // every field twice
		f.Add(encoded[:len(encoded)/2])
	}
	f.Add([]byte{0x12, 0x02, 0x52, 0x00})             // a spec with an empty nodeName
	f.Add([]byte{0x12, 0x04, 0x52, 0x00, 0x52, 0x00}) // and with two
	f.Add([]byte{0x10, 0x01})                         // a spec that is a number
	f.Add([]byte{0x12, 0x02, 0x50, 0x01})             // a nodeName that is a number
	var pool interning.Pool
	f.Fuzz(func(t *testing.T, message []byte) {
		var want corev1.Pod
		wantErr := want.Unmarshal(message)
		for range 2 { // the second finds what the first has left
			var got corev1.Pod
			err := pool.Decode(message, &got, nil)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("error %v, want %v", err, wantErr)
			}
			if diff := cmp.Diff(&want, &got); err == nil && diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	})
}
