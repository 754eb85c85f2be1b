package podstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/apistatus"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// nodePage shows what a node's agent answers to a read. There is nothing to be
// written there: what changes a node's pods are subresources of the pods.
func (c *Connector) nodePage(w http.ResponseWriter, r *http.Request, t ProxyTarget, found *storev1.ConnectResponse) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		reply.Error(w, r, routes.NotAllowed())
		return
	}
	if err := c.copyPage(w, r, t, found); err != nil {
		reply.Error(w, r, err)
	}
}

// copyPage returns an error only while nothing was written.
func (c *Connector) copyPage(w http.ResponseWriter, r *http.Request, t ProxyTarget, found *storev1.ConnectResponse) error {
	path := t.Path
	if path == "" {
		path = "/"
	}
	if _, err := url.ParseRequestURI(path); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("the proxied path is invalid: %v", err))
	}
	ctx, node, err := c.agent(r.Context(), found.GetNodeName(), found.GetNodeEndpoint())
	if err != nil {
		return err
	}
	stream, err := node.Page(ctx, &nodev1.PageRequest{Path: path, Query: r.URL.RawQuery})
	if err != nil {
		return unreachable(t, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return unreachable(t, err)
	}
	for name, value := range first.GetStart().GetHeaders() {
		if name == "Location" && strings.HasPrefix(value, "/") {
			value = strings.TrimSuffix(r.URL.EscapedPath(), t.Path) + value // it leads to another page of the node
		}
		w.Header().Set(name, value)
	}
	w.WriteHeader(int(first.GetStart().GetStatus()))
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			_, err = w.Write(part.GetData())
		}
		if err != nil {
			panic(http.ErrAbortHandler) // too late to say so: the client sees a cut connection
		}
	}
}

func unreachable(t ProxyTarget, err error) error {
	var known apierrors.APIStatus
	if err := apistatus.FromGRPC(err); errors.As(err, &known) && known.Status().Code < http.StatusInternalServerError {
		return err
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach node %s: %v", t.Name, err))
}
