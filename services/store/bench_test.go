package store_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/storetest"
)

// The two benchmarks below are to be compared: creates through the whole
// Store against bare etcd transactions of the same size, by 32 clients each.
const benchClients = 32

func benchData() map[string]string { return map[string]string{"data": strings.Repeat("x", 1000)} }

func BenchmarkCreate(b *testing.B) {
	etcd := openEtcd(b)
	b.Cleanup(func() { _ = etcd.Close() })
	s := storetest.New(b, storetest.WithBackend(etcd))
	clients := make([]*client.Client, benchClients)
	for i := range clients {
		clients[i] = s.Client(storetest.Admin())
	}
	b.ResetTimer()
	inParallel(b, func(worker, n int) error {
		return clients[worker].Create(b.Context(), configMap(fmt.Sprintf("c%d", n), benchData()))
	})
}

func BenchmarkBareTxn(b *testing.B) {
	etcd := openEtcd(b)
	b.Cleanup(func() { _ = etcd.Close() })
	value := []byte(strings.Repeat("x", 1250))
	b.ResetTimer()
	inParallel(b, func(_, n int) error {
		_, err := etcd.Commit(b.Context(), backend.Op{Type: backend.Put, Key: fmt.Sprintf("/bench/c%d", n), Value: value})
		return err
	})
}

// inParallel shares b.N calls among the workers.
func inParallel(b *testing.B, call func(worker, n int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range benchClients {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				if err := call(worker, n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
