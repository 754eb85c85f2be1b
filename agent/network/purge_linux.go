package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/vishvananda/netlink"
)

// Purge removes everything that the node's network holds of the host: the
// pods' namespaces, links, routes, the nftables table and the state folder.
// It needs no running agent, and what is not there is fine.
func Purge(ctx context.Context, cfg Config, log *slog.Logger) error {
	n, err := New(cfg, log)
	if err != nil {
		return err
	}
	errs := []error{n.detachAll(ctx), n.removeRoutes(nil), removeTable(cfg.tableName())}
	if link, err := netlink.LinkByName(cfg.vxlanName()); err == nil {
		if err := netlink.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("remove the link %s: %w", cfg.vxlanName(), err))
		}
	}
	errs = append(errs, os.RemoveAll(cfg.StateDir))
	return errors.Join(errs...)
}

// detachAll disconnects every pod; where a plugin fails, the namespace is
// removed all the same, and with it the pod's links.
func (n *Network) detachAll(ctx context.Context) error {
	uids, err := n.known()
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range uids {
		if err := n.Detach(ctx, PodRef{UID: uid}); err != nil {
			n.log.WarnContext(ctx, "a pod was disconnected by force", "uid", uid, "error", err)
			errs = append(errs, removeNetNS(n.netnsPath(uid)))
		}
	}
	return errors.Join(errs...)
}
