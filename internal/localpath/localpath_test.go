package localpath

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

func TestFolder(t *testing.T) {
	for _, tt := range []struct {
		name, provisioner, path string
		ok                      bool
	}{
		{"its own", Provisioner, "/data/volumes/pv", true},
		{"another's", "example.com/nfs", "/data/volumes/pv", false},
		{"a static one", "", "/data/volumes/pv", false},
		{"elsewhere", Provisioner, "/etc/pv", false},
		{"the folder of all", Provisioner, "/data/volumes", false},
		{"out and in again", Provisioner, "/data/volumes/../volumes/pv", false},
		{"another volume's", Provisioner, "/data/volumes/other", false},
		{"below another's", Provisioner, "/data/volumes/other/pv", false},
	} {
		pv := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv", Annotations: map[string]string{volume.AnnDynamicallyProvisioned: tt.provisioner}},
			Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: tt.path},
			}},
		}
		if path, err := Folder(pv, "/data/volumes/"); (err == nil) != tt.ok || tt.ok && path != tt.path {
			t.Errorf("%s: %q, %v", tt.name, path, err)
		}
	}
}
