package nftables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	nf "github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// WatchDeletions calls changed whenever some table of the namespace may have
// been deleted, until ctx ends: another program that flushes the whole ruleset
// takes this table with it.
func (t *Table) WatchDeletions(ctx context.Context, changed func()) error {
	const buffer = 8 << 20
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: t.opts.NetNS, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetReadBuffer(buffer); err != nil {
		return errors.Join(fmt.Errorf("watch nftables: %w", err), conn.Close())
	}
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS): // messages were lost
			changed()
		case err != nil:
			return errors.Join(fmt.Errorf("watch nftables: %w", err), conn.Close())
		case deletesTable(messages):
			changed()
		}
	}
}

func deletesTable(messages []netlink.Message) bool {
	for _, m := range messages {
		if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE {
			return true
		}
	}
	return false
}

// Names returns the names of the tables of this package's family that a network
// namespace has; 0 is the process's own.
func Names(netNS int) ([]string, error) {
	conn, err := New(Options{NetNS: netNS}).open()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTablesOfFamily(nf.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var names []string
	for _, table := range tables {
		names = append(names, table.Name)
	}
	return names, nil
}

// Noted says whether a network namespace has a table whose name begins with
// prefix and that was made with the note.
func Noted(netNS int, prefix, note string) (bool, error) {
	conn, err := New(Options{NetNS: netNS}).open()
	if err != nil {
		return false, err
	}
	chains, err := conn.ListChainsOfTableFamily(nf.TableFamilyIPv4)
	if err != nil {
		return false, fmt.Errorf("list nftables chains: %w", err)
	}
	for _, chain := range chains {
		if chain.Name == note && strings.HasPrefix(chain.Table.Name, prefix) {
			return true, nil
		}
	}
	return false, nil
}
