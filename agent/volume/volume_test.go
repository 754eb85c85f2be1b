package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

type bench struct {
	t       *testing.T
	client  *client.Client
	objects *objects.Objects
	manager *Manager
	dir     string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := storetest.New(t).Client(storetest.Admin())
	objs := objects.New(ctx, c)
	dir := filepath.Join(t.TempDir(), "pods")
	return &bench{t: t, client: c, objects: objs, dir: dir, manager: New(Config{Dir: dir}, c, objs, nil, telemetry.Discard("agent").Log)}
}

func (b *bench) configMap(name string, data map[string]string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: data}
	if err := b.client.Create(b.t.Context(), cm); err != nil {
		b.t.Fatal(err)
	}
	return cm
}

func podWith(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "uid-p", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "c"}}},
	}
}

func (b *bench) setUp(pod *corev1.Pod, changed func()) Volumes {
	b.t.Helper()
	if err := b.objects.Retain("uid-p", objects.Of(pod), changed); err != nil {
		b.t.Fatal(err)
	}
	vols, err := b.manager.SetUp(b.t.Context(), pod)
	if err != nil {
		b.t.Fatal(err)
	}
	return vols
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConfigMapFollowsItsSource(t *testing.T) {
	b := newBench(t)
	cm := b.configMap("conf", map[string]string{"a": "1", "b": "2"})
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, DefaultMode: ptr.To(int32(0o440))},
	}})
	changed := make(chan struct{}, 16)
	dir := b.setUp(pod, func() { changed <- struct{}{} })["v"].HostPath
	if got := read(t, filepath.Join(dir, "a")); got != "1" {
		t.Errorf("a = %q", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "a")); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
	before, _ := os.Readlink(filepath.Join(dir, dataLink))
	for len(changed) > 0 {
		<-changed
	}
	cm.Data = map[string]string{"a": "changed", "c": "3"}
	if err := b.client.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the change was not told")
	}
	if _, err := b.manager.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "a")); got != "changed" {
		t.Errorf("a = %q", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, "b")); !os.IsNotExist(err) {
		t.Errorf("b is still there: %v", err)
	}
	if after, _ := os.Readlink(filepath.Join(dir, dataLink)); after == before {
		t.Error("the version was changed in place")
	}
}

func TestMissingSources(t *testing.T) {
	b := newBench(t)
	source := func(optional bool) corev1.Volume {
		return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent", Optional: &optional}}}
	}
	b.setUp(podWith(source(true)), nil)
	pod := podWith(source(false))
	if _, err := b.manager.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), `secret "absent"`) {
		t.Errorf("error = %v", err)
	}
	pod = podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{}}})
	if _, err := b.manager.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("error = %v", err)
	}
}

func TestProjected(t *testing.T) {
	b := newBench(t)
	b.configMap("conf", map[string]string{"key": "value", "other": "x"})
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "conf"},
				Items:                []corev1.KeyToPath{{Key: "key", Path: "deep/down", Mode: ptr.To(int32(0o400))}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			}}},
		},
	}}})
	dir := b.setUp(pod, nil)["v"].HostPath
	if got := read(t, filepath.Join(dir, "deep/down")); got != "value" {
		t.Errorf("deep/down = %q", got)
	}
	if got := read(t, filepath.Join(dir, "labels")); got != `app="web"` {
		t.Errorf("labels = %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); !os.IsNotExist(err) {
		t.Errorf("a key that was not asked for is there: %v", err)
	}
}

func TestEmptyDirInMemoryIsUnmounted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	b := newBench(t)
	size := resource.MustParse("1Mi")
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size},
	}})
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
	dir := b.setUp(pod, nil)["v"].HostPath
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 2<<20), 0o644); err == nil {
		t.Error("the size limit does not hold")
	}
	if got := b.setUp(pod, nil)["v"].HostPath; got != dir {
		t.Errorf("set up again at %s", got)
	}
	if err := b.manager.TearDown("uid-p"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the volume is still there: %v", err)
	}
	if err := b.manager.TearDown("uid-p"); err != nil {
		t.Errorf("tear down what is gone: %v", err)
	}
}

func TestMemorySize(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1000")}
	for name, tt := range map[string]struct {
		volume, pod string
		node        corev1.ResourceList
		want        int64
	}{
		"the volume's limit":                 {"10", "100", node, 10},
		"the pod's, if it has none":          {"", "100", node, 100},
		"the pod's, if it is less":           {"500", "100", node, 100},
		"the node's, if nobody has one":      {"", "", node, 1000},
		"the node's, if all others are more": {"2000", "3000", node, 1000},
		"0 says nothing":                     {"0", "100", node, 100},
		"a node that does not know":          {"10", "", nil, 10},
		"nobody knows":                       {"", "", nil, 0},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}}}}
		if tt.pod != "" {
			pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(tt.pod)}
		}
		var limit *resource.Quantity
		if tt.volume != "" {
			limit = ptr.To(resource.MustParse(tt.volume))
		}
		if got := memorySize(pod, limit, tt.node); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestSubPathStaysInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	b := newBench(t)
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	vols := b.setUp(pod, nil)
	dir := vols["v"].HostPath
	t.Cleanup(func() { _ = b.manager.TearDown("uid-p") })
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("in", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		sub   string
		fails bool
	}{{"in", false}, {"in/deeper", false}, {"link", false}, {"out", true}, {"out/passwd", true}, {"../x", true}, {"/etc", true}}
	for _, tt := range tests {
		c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: tt.sub}}}
		mounts, err := b.manager.Mounts(pod, c, vols, nil)
		if tt.fails != (err != nil) {
			t.Errorf("subPath %q: %v, %v", tt.sub, mounts, err)
		}
	}
}

// TestSubPathHasTheVolumesMode makes folders in an emptyDir that a group owns, in
// memory and on disk.
func TestSubPathHasTheVolumesMode(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	const group = fs.ModeDir | fs.ModeSetgid | 0o777
	for medium, want := range map[corev1.StorageMedium]fs.FileMode{
		corev1.StorageMediumDefault: group,
		corev1.StorageMediumMemory:  group | fs.ModeSticky,
	} {
		b := newBench(t)
		pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}}})
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: "in/deeper"}}
		vols := b.setUp(pod, nil)
		t.Cleanup(func() { _ = b.manager.TearDown("uid-p") })
		if _, err := b.manager.Mounts(pod, &pod.Spec.Containers[0], vols, nil); err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{"", "in", "in/deeper"} {
			info, err := os.Stat(filepath.Join(vols["v"].HostPath, at))
			if err != nil {
				t.Fatal(err)
			}
			if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != want || gid != 2000 {
				t.Errorf("medium %q: %q has mode %v, group %d; want %v", medium, at, info.Mode(), gid, want)
			}
		}
	}
}

func TestOpenFileOfAVolume(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600))
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "out")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	vols := Volumes{"v": {HostPath: dir}}
	for path, works := range map[string]bool{"file": true, "link": true, "out": false, "../x": false, "pipe": false, ".": false} {
		file, err := vols.Open("v", path)
		if works != (err == nil) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			must(t, file.Close())
		}
	}
	if _, err := vols.Open("v", "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := vols.Open("w", "file"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a volume that is not there: %v", err)
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path  string
		kind  corev1.HostPathType
		fails bool
	}{
		{dir, corev1.HostPathDirectory, false},
		{dir, corev1.HostPathFile, true},
		{file, corev1.HostPathFile, false},
		{file, corev1.HostPathSocket, true},
		{filepath.Join(dir, "new"), corev1.HostPathDirectoryOrCreate, false},
		{filepath.Join(dir, "newfile"), corev1.HostPathFileOrCreate, false},
		{filepath.Join(dir, "absent"), corev1.HostPathUnset, false},
		{"/dev/null", corev1.HostPathCharDev, false},
	}
	for _, tt := range tests {
		err := checkHostPath(&corev1.HostPathVolumeSource{Path: tt.path, Type: &tt.kind})
		if tt.fails != (err != nil) {
			t.Errorf("%s as %q: %v", tt.path, tt.kind, err)
		}
	}
}

func FuzzPayload(f *testing.F) {
	f.Add("key", "a/b")
	f.Add("../x", "..data")
	f.Add("a", "a/b")
	f.Fuzz(func(t *testing.T, one, two string) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "volume")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = writePayload(dir, payload{one: {mode: 0o600}, two: {mode: 0o600}}, nil) // refusing is fine
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Errorf("%q and %q wrote outside of the volume: %v, %v", one, two, entries, err)
		}
	})
}

func TestCounts(t *testing.T) {
	b := newBench(t)
	b.configMap("settings", map[string]string{"a": "1"})
	b.bind("data", local("pv-data", t.TempDir()))
	pod := claiming("data")
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
		}}})
	b.setUp(pod, nil)
	failing := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{}}})
	failing.UID = "uid-f"
	if _, err := b.manager.SetUp(t.Context(), failing); err == nil {
		t.Fatal("a volume was set up for which there is no plugin")
	}
	want := []Count{
		{"N/A", 1, 0}, {"kubernetes.io/configmap", 1, 1}, {"kubernetes.io/empty-dir", 2, 2}, {"kubernetes.io/local-volume", 1, 1},
	}
	if diff := cmp.Diff(want, b.manager.Counts()); diff != "" {
		t.Error(diff)
	}
	for _, uid := range []string{"uid-p", "uid-f"} {
		if err := b.manager.TearDown(uid); err != nil {
			t.Fatal(err)
		}
	}
	if left := b.manager.Counts(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
