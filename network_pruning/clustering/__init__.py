"""The clustering wing: activations that gather around few centres.

kmeans.py is the arithmetic, clusters.py the layer that holds the centres of one tapped
layer, model.py the model that clusters as it learns.
"""
