package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/kinds"
)

// Converters asks the webhooks that convert custom objects between versions, by
// the connections that the webhooks of admission are asked by.
type Converters struct{ clients *clients }

// NewConverters returns one that reaches webhooks which are Services by services.
func NewConverters(services ServiceDialer) *Converters { return &Converters{newClients(services)} }

// Convert returns objects in another version. Of their metadata a webhook may
// change labels and annotations.
func (c *Converters) Convert(ctx context.Context, hook *apiextensionsv1.WebhookConversion, objs []*unstructured.Unstructured, apiVersion string) ([]*unstructured.Unstructured, error) {
	if hook.ClientConfig == nil {
		return nil, errors.New("the conversion has no clientConfig")
	}
	client, err := c.clients.get(kinds.ConversionClient(hook.ClientConfig))
	if err != nil {
		return nil, err
	}
	request := &apiextensionsv1.ConversionRequest{UID: types.UID(uuid.NewString()), DesiredAPIVersion: apiVersion}
	for _, obj := range objs {
		request.Objects = append(request.Objects, runtime.RawExtension{Object: obj})
	}
	// The versions of reviews differ in nothing but their name.
	version := apiextensionsv1.GroupName + "/" + conversionVersion(hook.ConversionReviewVersions)
	body, err := json.Marshal(&apiextensionsv1.ConversionReview{TypeMeta: metav1.TypeMeta{APIVersion: version, Kind: "ConversionReview"}, Request: request})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	answer, err := client.rest.Post().SetHeader("Content-Type", runtime.ContentTypeJSON).Body(body).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var review apiextensionsv1.ConversionReview
	if err := json.Unmarshal(answer, &review); err != nil {
		return nil, fmt.Errorf("read the response: %w", err)
	}
	if review.APIVersion != version || review.Kind != "ConversionReview" {
		return nil, fmt.Errorf("expected webhook response of %s, Kind=ConversionReview, got %s, Kind=%s", version, review.APIVersion, review.Kind)
	}
	return converted(request, review.Response, objs)
}

// conversionVersion returns the first version of reviews that both sides know.
func conversionVersion(accepted []string) string {
	for _, version := range accepted {
		if version == "v1" || version == "v1beta1" {
			return version
		}
	}
	return "v1"
}

// converted returns the objects of a response, each of which must be the one
// that was sent.
func converted(request *apiextensionsv1.ConversionRequest, response *apiextensionsv1.ConversionResponse, objs []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	switch {
	case response == nil:
		return nil, errors.New("no response provided")
	case response.UID != request.UID:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", request.UID, response.UID)
	case response.Result.Status != metav1.StatusSuccess:
		if response.Result.Message == "" {
			return nil, fmt.Errorf("response.result.status was %q, not 'Success', and no message was provided", response.Result.Status)
		}
		return nil, errors.New(response.Result.Message)
	case len(response.ConvertedObjects) != len(objs):
		return nil, fmt.Errorf("webhook returned %d objects, expected %d", len(response.ConvertedObjects), len(objs))
	}
	out := make([]*unstructured.Unstructured, len(objs))
	for i := range response.ConvertedObjects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(response.ConvertedObjects[i].Raw); err != nil {
			return nil, fmt.Errorf("read the converted object at index %d: %w", i, err)
		}
		if err := keepIdentity(u, objs[i], request.DesiredAPIVersion); err != nil {
			return nil, fmt.Errorf("invalid converted object at index %d: %w", i, err)
		}
		out[i] = u
	}
	return out, nil
}

// keepIdentity checks that a converted object is the one that was sent, and
// restores the metadata that is not the webhook's to change.
func keepIdentity(u, sent *unstructured.Unstructured, apiVersion string) error {
	switch {
	case u.GetAPIVersion() != apiVersion:
		return fmt.Errorf("its apiVersion is %s, not %s", u.GetAPIVersion(), apiVersion)
	case u.GetKind() != sent.GetKind():
		return fmt.Errorf("its kind is %s, not %s", u.GetKind(), sent.GetKind())
	case u.GetName() != sent.GetName() || u.GetNamespace() != sent.GetNamespace():
		return fmt.Errorf("it is %s/%s, not %s/%s", u.GetNamespace(), u.GetName(), sent.GetNamespace(), sent.GetName())
	case u.GetUID() != sent.GetUID():
		return fmt.Errorf("its UID is %q, not %q", u.GetUID(), sent.GetUID())
	}
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	if meta, ok := sent.Object["metadata"].(map[string]any); ok {
		u.Object["metadata"] = runtime.DeepCopyJSON(meta)
	}
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
	return nil
}
