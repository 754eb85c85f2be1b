package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// answering is a connection whose calls all end alike.
type answering struct {
	grpc.ClientConnInterface
	code     codes.Code
	switched int
}

func (a *answering) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(a.code, "as told")
}

func (a *answering) Switch() { a.switched++ }

// TestOtherStore has a Store answer calls for a while, and asks whether the gateway
// leaves it.
func TestOtherStore(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		code         codes.Code
		leaves       bool
	}{
		{"writes without etcd", storev1.StoreService_Update_FullMethodName, codes.Unavailable, true},
		{"reads without etcd", storev1.StoreService_Get_FullMethodName, codes.Unavailable, true},
		{"pods without a node", storev1.StoreService_Connect_FullMethodName, codes.Unavailable, false},
		{"webhooks that fail", storev1.StoreService_Create_FullMethodName, codes.Internal, false},
		{"clients that wait no longer", storev1.StoreService_Create_FullMethodName, codes.DeadlineExceeded, false},
		{"conflicts", storev1.StoreService_Update_FullMethodName, codes.Aborted, false},
		{"successes", storev1.StoreService_Patch_FullMethodName, codes.OK, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &answering{code: tt.code}
				conn := overStores(store)
				call := func() {
					t.Helper()
					if err := conn.Invoke(t.Context(), tt.method, nil, nil); status.Code(err) != tt.code {
						t.Error(err)
					}
				}
				call()
				time.Sleep(patience - time.Second)
				call()
				if store.switched != 0 {
					t.Error("it left at once")
				}
				time.Sleep(time.Second)
				call()
				call()
				if (store.switched == 1) != tt.leaves || store.switched > 1 {
					t.Errorf("it left %d times, want that it leaves: %t", store.switched, tt.leaves)
				}
			})
		})
	}
	one := struct{ grpc.ClientConnInterface }{}
	if overStores(one) != grpc.ClientConnInterface(one) {
		t.Error("the connection to one Store is not itself")
	}
}
