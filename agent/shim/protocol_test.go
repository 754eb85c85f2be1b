package shim_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"navarch.dev/navarch/agent/shim"
)

func FuzzReadFrame(f *testing.F) {
	var good bytes.Buffer
	if err := shim.WriteFrame(&good, shim.FrameStdin, []byte("text")); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{1, 0, 0, 0, 9, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, payload, err := shim.ReadFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := shim.WriteFrame(&again, kind, payload); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, again.Bytes()) {
			t.Errorf("frame %q reads as %d %q", data, kind, payload)
		}
	})
}

func TestProcessID(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	process, err := shim.Identify(cmd.Process.Pid)
	if err != nil || !process.Alive() {
		t.Fatalf("identify: %+v, %v", process, err)
	}
	reused := shim.ProcessID{Pid: process.Pid, StartTime: process.StartTime + 1}
	if err := reused.Kill(); err != nil || reused.Alive() || !process.Alive() {
		t.Errorf("a process of the same number was taken for another: %v", err)
	}
	if err := process.Kill(); err != nil {
		t.Error(err)
	}
	if err := process.Wait(); err != nil || process.Alive() {
		t.Errorf("after the kill: alive %v, %v", process.Alive(), err)
	}
	_ = cmd.Wait()
	if err := process.Kill(); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
	if self, err := shim.Identify(os.Getpid()); err != nil || !self.Alive() {
		t.Errorf("self %+v, %v", self, err)
	}
}
