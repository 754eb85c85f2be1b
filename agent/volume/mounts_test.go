package volume

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestRecursiveReadOnly(t *testing.T) {
	for _, c := range []struct {
		mode     corev1.RecursiveReadOnlyMode
		readOnly bool
		kernel   bool
		want     bool
	}{
		{corev1.RecursiveReadOnlyDisabled, true, true, false},
		{corev1.RecursiveReadOnlyIfPossible, true, true, true},
		{corev1.RecursiveReadOnlyIfPossible, true, false, false},
		{corev1.RecursiveReadOnlyIfPossible, false, true, false},
		{corev1.RecursiveReadOnlyEnabled, true, true, true},
		{corev1.RecursiveReadOnlyEnabled, true, false, true}, // so that it fails
	} {
		m := &Manager{cfg: Config{RecursiveReadOnly: c.kernel}}
		if got := m.RecursiveReadOnly(corev1.VolumeMount{ReadOnly: c.readOnly, RecursiveReadOnly: &c.mode}); got != c.want {
			t.Errorf("%s, read-only %t, kernel %t: %t", c.mode, c.readOnly, c.kernel, got)
		}
	}
	if new(Manager).RecursiveReadOnly(corev1.VolumeMount{ReadOnly: true}) {
		t.Error("a mount that does not ask for it")
	}
}
