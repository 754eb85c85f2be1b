package store

import "sync"

// followers counts the open watches of those who are connected to this Store
// themselves, by the name of their identity: who follows something is there. A
// connection that no longer answers is closed within half a minute.
type followers struct {
	mu    sync.Mutex // guards what follows
	count map[string]int
}

func newFollowers() *followers { return &followers{count: make(map[string]int)} }

// enter counts the watch of a scope until leave is called.
func (f *followers) enter(sc scope) (leave func()) {
	if sc.fromUser {
		return func() {}
	}
	f.add(sc.user.Name, 1)
	return func() { f.add(sc.user.Name, -1) }
}

func (f *followers) add(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[name] += n; f.count[name] == 0 {
		delete(f.count, name)
	}
}

// has says whether anybody of a name follows anything.
func (f *followers) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[name] > 0
}
