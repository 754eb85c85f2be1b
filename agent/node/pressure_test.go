package node

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPressureLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var short pressure
		read := lasting(func() pressure { return short })
		is := func(what string, want pressure) {
			t.Helper()
			if got := read(); got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		is("with enough of all", pressure{})
		short.disk = true
		is("short of disk", pressure{disk: true})
		time.Sleep(relief)
		is("still short of disk", pressure{disk: true})
		short = pressure{memory: true}
		is("short of memory instead", pressure{memory: true, disk: true})
		short = pressure{}
		time.Sleep(relief - time.Second)
		is("not long enough with enough", pressure{memory: true, disk: true})
		time.Sleep(time.Second)
		is("long enough with enough", pressure{})
		short.pids = true
		is("short of process IDs", pressure{pids: true})
	})
}
