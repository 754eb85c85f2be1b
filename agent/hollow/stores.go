package hollow

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
)

// askTime bounds a question to the Store that is read for all nodes.
const askTime = 10 * time.Second

// leaving returns what leads a node to another of several Stores, nil if there is
// but one. What made the node leave may be true of the Store that is read for all
// nodes too.
func (f *Fleet) leaving(conn Conn) func() {
	other := client.OtherStore(conn)
	if other == nil {
		return nil
	}
	return func() {
		other()
		select {
		case f.doubts <- struct{}{}:
		default:
		}
	}
}

// keepStore leaves the Store that is read for all nodes when it does not answer.
// Nothing but watches goes over that connection, so that of a Store that hangs, or
// has lost the state, nothing would be noticed; it is asked whenever a node has
// left its own.
func (f *Fleet) keepStore(ctx context.Context, conn Conn, c *client.Client) {
	stores := client.NewSwitcher(client.OtherStore(conn), retryInterval, 0)
	for {
		select {
		case <-f.doubts:
		case <-ctx.Done():
			return
		}
		err := f.ask(ctx, c)
		for err != nil && stores.Failed(err) {
			err = f.ask(ctx, c)
		}
		if err == nil {
			stores.Succeeded()
		}
	}
}

// ask reads the newest of what the first node may read.
func (f *Fleet) ask(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := c.Get(ctx, "", f.cfg.FirstName(), &corev1.Node{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
