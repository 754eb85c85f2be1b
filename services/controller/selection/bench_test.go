package selection

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// BenchmarkPodChange is what one pod's change costs the reconcilers of a
// namespace with 5,000 pods behind 500 Services: who selects it, and whom each of
// these selects; by the index, and by a look at all pods and Services.
func BenchmarkPodChange(b *testing.B) {
	const services, each = 500, 10
	w := newWorld(b)
	all := make(map[string]labels.Selector)
	for i := range services {
		s := serviceOf(fmt.Sprint("s", i), fmt.Sprintf("part-of=shop,app=a%d", i))
		w.services.OnAdd(s)
		all[s.Name] = selectorOf(s)
	}
	var pods []*corev1.Pod
	for i := range services * each {
		pod := podOf(fmt.Sprint("p", i), fmt.Sprintf("part-of=shop,app=a%d,pod-template-hash=h", i%services))
		w.set(b, pod)
		pods = append(pods, pod)
	}
	run := func(name string, selecting func(*corev1.Pod) []string, selected func(name string) []*corev1.Pod) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for _, key := range selecting(pods[i%len(pods)]) {
					if n := len(selected(key[len("default/"):])); n != each {
						b.Fatalf("%s selects %d pods", key, n)
					}
				}
			}
		})
	}
	run("index", w.Selecting, func(name string) []*corev1.Pod { return w.Selected("default", name, all[name]) })
	run("look", func(pod *corev1.Pod) (keys []string) {
		for name, s := range all {
			if s.Matches(labels.Set(pod.Labels)) {
				keys = append(keys, "default/"+name)
			}
		}
		return keys
	}, func(name string) []*corev1.Pod { return w.scan("default", all[name]) })
}
