package node

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPressureLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const relief = 3 * time.Minute
		var short pressure
		read := lasting(relief, func() pressure { return short })
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
		read = lasting(0, func() pressure { return short })
		is("short, and nothing lasts", pressure{pids: true})
		short = pressure{}
		is("enough, and nothing lasts", pressure{})
	})
}
