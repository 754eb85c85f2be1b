package podworker

import (
	"strings"
	"testing"
)

func TestStaticPods(t *testing.T) {
	m := &Manager{cfg: Config{NodeName: "N"}}
	for _, c := range []struct{ name, more, want string }{
		{"a volume", "volumes: [{name: v, emptyDir: {}}]", ""},
		{"fields of itself", "volumes: [{name: v, projected: {sources: [{downwardAPI: {items: []}}]}}]", ""},
		{"a trust bundle", "volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: x, path: p}}]}}]", "may not use clusterTrustBundle or podCertificate"},
		{"a certificate", "volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: a.com/b}}]}}]", "may not use clusterTrustBundle or podCertificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod, err := m.parseStatic([]byte("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c}], " + c.more + "}"))
			if c.want == "" && (err != nil || pod.Name != "p-n") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, %v; want %q", pod, err, c.want)
			}
		})
	}
}
