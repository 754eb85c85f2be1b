package shim

import (
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// State that is there can be changed where there is no room for anything else.
func TestWriteFileAtomicOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path, filled := filepath.Join(dir, StateFile), filepath.Join(dir, "filled")
	if err := WriteFileAtomic(path, ContainerState{ID: "a", Status: StatusRunning, Message: "longer than the next one"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filled, make([]byte, 64<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the disk ended with %v", err)
	}
	for _, status := range []string{StatusExited, StatusCreated} {
		if err := WriteFileAtomic(path, ContainerState{ID: "a", Status: status}); err != nil {
			t.Fatalf("with a full disk, the state is not written: %v", err)
		}
		var got ContainerState
		if err := ReadFile(path, &got); err != nil || got.Status != status || got.Message != "" {
			t.Errorf("the state is %+v, %v, want %s", got, err, status)
		}
	}
	if err := WriteFileAtomic(filepath.Join(dir, "new"), 1); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new file on a full disk ends with %v", err)
	}
	if err := os.Remove(filled); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(path, ContainerState{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

// TestNumberOfAThread: a process is gone whose number is a thread's, as is one that is
// just being reaped, of which the kernel says the same.
func TestNumberOfAThread(t *testing.T) {
	threads, done := make(chan int), make(chan struct{})
	defer close(done)
	for range 2 { // of which one at most is the process's first
		go func() {
			goruntime.LockOSThread() // ends with the goroutine
			threads <- unix.Gettid()
			<-done
		}()
	}
	p := ProcessID{Pid: <-threads}
	if other := <-threads; p.Pid == os.Getpid() {
		p.Pid = other
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}
