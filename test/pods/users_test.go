package pods_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

// ownUsersSpec is a pod with users of its own that looks around, and stays. Its last
// argument is how its processes are found on the node.
const ownUsersSpec = `
hostUsers: false
securityContext:
  fsGroup: 200
  sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "80"}]
volumes:
- {name: disk, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory}}
- {name: settings, configMap: {name: own-users}}
- {name: keys, secret: {secretName: own-users, defaultMode: 0400}}
initContainers:
- name: i
  command: [sh, -c, 'echo by init > /disk/init && chown 7:8 /disk/init']
  volumeMounts: [{name: disk, mountPath: /disk}]
containers:
- name: root
  command: [sh, -c, 'touch /disk/root /memory/root; cat /proc/sys/net/ipv4/ip_unprivileged_port_start > /dev/stdout; stat -c "%%n %%u:%%g" /bin/busybox /disk/init /disk/root /memory/root /etc/hosts; stat -Lc "%%n %%u:%%g" /settings/color /keys/password; cat /settings/color /keys/password; echo; while true; do sleep 1; done', %s]
  volumeMounts: &all
  - {name: disk, mountPath: /disk}
  - {name: memory, mountPath: /memory}
  - {name: settings, mountPath: /settings}
  - {name: keys, mountPath: /keys}
- name: other
  command: [sh, -c, 'trap "exit 3" TERM; echo last words > /dev/termination-log; touch /disk/other; stat -c "%%n %%u:%%g" /disk/other > /dev/stdout; id -u; while true; do sleep 1; done', %s]
  securityContext: {runAsUser: 1000, runAsGroup: 3000}
  volumeMounts: *all
`

// otherWrites is what its second container writes, before it stays.
const otherWrites = "/disk/other 1000:200\n1000\n"

// uidMap is what a pod's users are on the node: the first, and how many.
type uidMap struct{ first, length int }

func (m uidMap) has(uid int) bool { return m.first <= uid && uid < m.first+m.length }

func (s suite) uidMap(t *testing.T, name string) uidMap {
	t.Helper()
	text := s.exec(t, name, "cat", "/proc/self/uid_map")
	var inside int
	var m uidMap
	if _, err := fmt.Sscan(text, &inside, &m.first, &m.length); err != nil || inside != 0 || strings.Count(text, "\n") != 1 {
		t.Fatalf("the pod's uid_map is %q: %v", text, err)
	}
	if m.first < 65536 || m.length != 65536 {
		t.Fatalf("the pod's users are the node's from %d on, %d of them", m.first, m.length)
	}
	return m
}

// processes returns the user IDs on the node of the processes whose command line ends
// in a word.
func processes(t *testing.T, word string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var uids []int
	for _, path := range paths {
		line, _ := os.ReadFile(path) // it may have ended
		if strings.HasSuffix(strings.TrimRight(string(line), "\x00"), "\x00"+word) {
			if info, err := os.Stat(filepath.Dir(path)); err == nil {
				uids = append(uids, int(info.Sys().(*syscall.Stat_t).Uid))
			}
		}
	}
	return uids
}

// anyProcess says which process of the node is one of some users', "" for none.
func anyProcess(t *testing.T, users uidMap) string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && users.has(int(info.Sys().(*syscall.Stat_t).Uid)) {
			command, _ := os.ReadFile(filepath.Join(path, "cmdline"))
			return filepath.Base(path) + " " + string(command)
		}
	}
	return ""
}

// TestOwnUsers: root in a pod with hostUsers: false is nobody on the node, and no
// other pod's anybody, also after the agent was killed; its files are its own; and
// nothing of it is left behind.
func TestOwnUsers(t *testing.T) {
	s := newSuite(t)
	meta := metav1.ObjectMeta{Name: "own-users"}
	if _, err := s.clients.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"color": "green"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.clients.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"password": "sesame"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := s.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name} {.items[0].status.runtimeHandlers[0].features}")
	name, features, _ := strings.Cut(node, " ")
	if want := `{"recursiveReadOnlyMounts":true,"userNamespaces":true}`; features != want {
		t.Errorf("the node can %s, want %s", features, want)
	}

	pods := map[string]*corev1.Pod{}
	users := map[string]uidMap{}
	start := func(name string) {
		pods[name] = s.create(t, name, fmt.Sprintf(ownUsersSpec, "of-"+name, "of-"+name))
		s.untilReady(t, name)
		users[name] = s.uidMap(t, name)
		for other, theirs := range users {
			if other != name && (theirs.has(users[name].first) || users[name].has(theirs.first)) {
				t.Errorf("pods %s and %s have the users %v and %v", name, other, users[name], theirs)
			}
		}
	}
	start("own-a")
	start("own-b")
	s.checkFiles(t, pods["own-a"])
	checkProcesses(t, "own-a", users["own-a"])

	s.Kill(t, "agent-"+name)
	start("own-c")
	for _, pod := range []string{"own-a", "own-b"} {
		if now := s.uidMap(t, pod); now != users[pod] {
			t.Errorf("%s has the users %v after its agent was killed, it had %v", pod, now, users[pod])
		}
		if got := statusOf(s.pods.get(pod), "root").RestartCount; got != 0 {
			t.Errorf("%s was restarted", pod)
		}
	}
	// A container that ends is started again for the same users.
	s.untilWrote(t, "own-b", "other", otherWrites)
	s.Kubectl(t, "exec", "own-b", "-c", "other", "--", "kill", "1")
	s.until(t, "own-b", "is started again", func(p *corev1.Pod) error {
		if c := statusOf(p, "other"); c.RestartCount == 0 || c.State.Running == nil {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if got := statusOf(s.pods.get("own-b"), "other").LastTerminationState.Terminated; got == nil || got.Message != "last words\n" {
		t.Errorf("it ended with %+v", got)
	}
	checkProcesses(t, "own-b", users["own-b"])

	for pod := range pods {
		s.remove(pod)
	}
	for pod := range pods {
		s.untilGone(t, pod)
	}
	s.checkNothingLeft(t, pods, users)
}

// checkFiles looks at who files belong to, from inside and on the node.
func (s suite) checkFiles(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	want := "80\n/bin/busybox 0:0\n/disk/init 7:8\n/disk/root 0:200\n/memory/root 0:200\n/etc/hosts 0:0\n" +
		"/settings/color 0:200\n/keys/password 0:200\ngreensesame\n"
	s.untilWrote(t, pod.Name, "root", want)
	s.untilWrote(t, pod.Name, "other", otherWrites)
	s.exec(t, pod.Name, "touch", "/disk/exec")
	for file, uid := range map[string]uint32{"init": 7, "root": 0, "exec": 0, "other": 1000} {
		paths, err := filepath.Glob(filepath.Join(s.Dir, "nodes", "*", "pods", string(pod.UID), "volumes", "disk", file))
		if err != nil || len(paths) != 1 {
			t.Fatalf("the file %s is at %v, %v", file, paths, err)
		}
		info, err := os.Stat(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != uid {
			t.Errorf("on the disk %s is that of user %d, want %d", file, got, uid)
		}
	}
}

// untilWrote waits until a container has written just that.
func (s suite) untilWrote(t *testing.T, name, container, want string) {
	t.Helper()
	testcluster.Eventually(t, container+" has looked around", func() error {
		if got := s.log(t, name, corev1.PodLogOptions{Container: container}); got != want {
			return fmt.Errorf("%s wrote\n%s\nwant\n%s", container, got, want)
		}
		return nil
	})
}

// checkProcesses looks at who the pod's processes are on the node, when their
// programs run.
func checkProcesses(t *testing.T, name string, users uidMap) {
	t.Helper()
	testcluster.Eventually(t, "the processes of "+name+" run", func() error {
		found := map[int]bool{}
		for _, uid := range processes(t, "of-"+name) {
			found[uid-users.first] = true
		}
		if len(found) != 2 || !found[0] || !found[1000] {
			return fmt.Errorf("they are those of its users %v, want 0 and 1000", found)
		}
		return nil
	})
}

// checkNothingLeft looks for what the node keeps of pods that are gone.
func (s suite) checkNothingLeft(t *testing.T, pods map[string]*corev1.Pod, users map[string]uidMap) {
	t.Helper()
	testcluster.Eventually(t, "nothing is left of the pods", func() error {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		for name, pod := range pods {
			if process := anyProcess(t, users[name]); process != "" {
				return fmt.Errorf("a process of %s: %s", name, process)
			}
			if strings.Contains(string(mounts), string(pod.UID)) {
				return fmt.Errorf("a mount of %s", name)
			}
			left, err := filepath.Glob(filepath.Join(s.Dir, "nodes", "*", "*", string(pod.UID)))
			if err != nil || len(left) > 0 {
				return fmt.Errorf("of %s: %v, %w", name, left, err)
			}
		}
		if strings.Contains(string(mounts), filepath.Join(s.Dir, "nodes")+"/") && strings.Contains(string(mounts), "/rootfs ") {
			return errors.New("a mount of a container")
		}
		return nil
	})
}
