package gateway

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	// patience is for how long a Store may be without the state, as when etcd
	// elects a leader: to leave it breaks the clients' watches.
	patience = 5 * time.Second
	// shortestStay is how long a Store is kept at least once it has been gone to.
	shortestStay = time.Second
)

// overStores returns a connection that goes to another of several Stores when the
// present one says that it cannot reach the state: it serves what it remembers,
// and its connections stay open, for as long as that lasts.
func overStores(conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	other := client.OtherStore(conn)
	if other == nil {
		return conn
	}
	return &storesConn{ClientConnInterface: conn, stores: client.NewSwitcher(other, shortestStay, patience)}
}

type storesConn struct {
	grpc.ClientConnInterface
	stores *client.Switcher
}

// Invoke makes a call, and leaves the Store for the next if it is not available
// for what cannot be answered from memory.
func (c *storesConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	switch code := status.Code(err); {
	case code == codes.Unavailable && (writes[method] || method == storev1.StoreService_Get_FullMethodName):
		c.stores.Failed(apierrors.NewServiceUnavailable(err.Error()))
	case code == codes.OK && writes[method]:
		c.stores.Succeeded()
	}
	return err
}

// writes are the calls that need the state. Others that answer Unavailable may
// mean a node or a pod.
var writes = map[string]bool{
	storev1.StoreService_Create_FullMethodName: true, storev1.StoreService_Update_FullMethodName: true,
	storev1.StoreService_Patch_FullMethodName: true, storev1.StoreService_Delete_FullMethodName: true,
	storev1.StoreService_DeleteCollection_FullMethodName: true,
}
