"""All words of the page, in English and Spanish."""

# ruff: noqa: E501 - a sentence of the table is easier to translate on one line

from __future__ import annotations

import json

__all__ = ["LANGUAGES", "STRINGS", "Words"]

LANGUAGES = ("en", "es")

# key: (English, Spanish). Placeholders in braces are the same in both.
STRINGS: dict[str, tuple[str, str]] = {
    # header and tabs
    "other_language": ("Español", "English"),
    "theme": ("Switch between light and dark", "Cambiar entre claro y oscuro"),
    "skip": ("Skip to content", "Ir al contenido"),
    "tab.search": ("Photos", "Fotos"),
    "tab.classify": ("Classify", "Clasificar"),
    "tab.map": ("Map", "Mapa"),
    "tab.curate": ("Curate", "Depurar"),
    "tab.learn": ("Learn", "Aprender"),
    # words that scripts say
    "js.build_title": ("Add photos", "Añadir fotos"),
    "js.why_title": ("Why this image?", "¿Por qué esta imagen?"),
    "js.caption": ("Caption (optional)", "Descripción (opcional)"),
    "js.caption_of": ("Caption of {name}", "Descripción de {name}"),
    "js.remove": ("Remove {name}", "Quitar {name}"),
    "js.send": ("Add {n} images", "Añadir {n} imágenes"),
    "js.sending": ("Sending {n} of {total} …", "Enviando {n} de {total} …"),
    "js.close": ("Close", "Cerrar"),
    "js.choose": ("Choose a collection", "Elige una colección"),
    "js.lost": (
        "The connection to the server is lost. Trying again …",
        "Se ha perdido la conexión con el servidor. Reintentando …",
    ),
    "js.back": ("The server is back.", "El servidor ha vuelto."),
    "js.copied": ("Copied", "Copiado"),
    "js.unreadable": ("{name} cannot be read as an image.", "{name} no se puede leer como imagen."),
    "js.too_many": ("At most {n} images at a time.", "Como máximo {n} imágenes a la vez."),
    "js.failed": (
        "The server could not answer; try again.",
        "El servidor no ha podido responder; inténtalo de nuevo.",
    ),
    # selecting many, and what is done with them
    "pick.bar": ("Selection", "Selección"),
    "pick.one": ("Select {name}", "Seleccionar {name}"),
    "pick.count": ("{n} selected", "{n} seleccionadas"),
    "pick.count_one": ("1 selected", "1 seleccionada"),
    "pick.clear": ("Clear the selection", "Quitar la selección"),
    "pick.all": ("Select all", "Seleccionar todo"),
    "pick.only": ("Show only", "Ver solo estas"),
    "pick.zip": ("Download", "Descargar"),
    "pick.csv": ("CSV", "CSV"),
    "pick.paths": ("Copy paths", "Copiar rutas"),
    "pick.tag": ("Tag", "Etiquetar"),
    "pick.untag": ("Untag", "Quitar etiqueta"),
    "pick.album": ("Add to album", "Añadir a un álbum"),
    "pick.unalbum": ("Take out of album", "Sacar de un álbum"),
    "pick.remove": ("Remove", "Quitar"),
    "pick.compare": ("Compare", "Comparar"),
    "pick.undo": ("Undo", "Deshacer"),
    "pick.close": ("Close", "Cerrar"),
    "pick.cancel": ("Cancel", "Cancelar"),
    "pick.ok": ("OK", "Aceptar"),
    "pick.tag_label": ("Tag", "Etiqueta"),
    "pick.album_label": ("Album", "Álbum"),
    "pick.none_untag": (
        "None of the selected images has a tag.",
        "Ninguna de las imágenes seleccionadas tiene etiquetas.",
    ),
    "pick.none_unalbum": (
        "None of the selected images is in an album.",
        "Ninguna de las imágenes seleccionadas está en un álbum.",
    ),
    "pick.zip_started": ("The download begins …", "La descarga empieza …"),
    "pick.gone": ("This image cannot be shown.", "Esta imagen no se puede mostrar."),
    "picked.tag": ("{n} images are tagged “{name}”", "{n} imágenes tienen la etiqueta «{name}»"),
    "picked.tag_one": ("1 image is tagged “{name}”", "1 imagen tiene la etiqueta «{name}»"),
    "picked.untag": (
        "The tag “{name}” is gone from {n} images",
        "Se ha quitado la etiqueta «{name}» de {n} imágenes",
    ),
    "picked.untag_one": (
        "The tag “{name}” is gone from 1 image",
        "Se ha quitado la etiqueta «{name}» de 1 imagen",
    ),
    "picked.album": (
        "{n} images were added to the album “{name}”",
        "Se han añadido {n} imágenes al álbum «{name}»",
    ),
    "picked.album_one": (
        "1 image was added to the album “{name}”",
        "Se ha añadido 1 imagen al álbum «{name}»",
    ),
    "picked.unalbum": (
        "{n} images were taken out of the album “{name}”",
        "Se han sacado {n} imágenes del álbum «{name}»",
    ),
    "picked.unalbum_one": (
        "1 image was taken out of the album “{name}”",
        "Se ha sacado 1 imagen del álbum «{name}»",
    ),
    "picked.removed": (
        "{n} images were removed from the collection; their files stay",
        "Se han quitado {n} imágenes de la colección; sus archivos siguen ahí",
    ),
    "picked.removed_one": (
        "1 image was removed from the collection; its file stays",
        "Se ha quitado 1 imagen de la colección; su archivo sigue ahí",
    ),
    "picked.restored": ("{n} images are back", "{n} imágenes han vuelto"),
    "picked.restored_one": ("1 image is back", "1 imagen ha vuelto"),
    "picked.restored_some": (
        "{n} of {total} images are back; the others were indexed again meanwhile, or removed too "
        "long ago",
        "{n} de {total} imágenes han vuelto; las otras se indexaron de nuevo entretanto, o se "
        "quitaron hace demasiado tiempo",
    ),
    "picked.read_only": (
        "This page shows the collection, but cannot change it.",
        "Esta página muestra la colección, pero no puede cambiarla.",
    ),
    # albums, saved and recent searches
    "album.albums": ("Albums", "Álbumes"),
    "album.searches": ("Saved searches", "Búsquedas guardadas"),
    "album.name": ("Name", "Nombre"),
    "album.no_albums": (
        "No album yet. Select images and add them to one.",
        "Aún no hay álbumes. Selecciona imágenes y añádelas a uno.",
    ),
    "album.no_searches": ("No search is saved yet.", "Aún no hay búsquedas guardadas."),
    "album.every": ("Leave the album", "Salir del álbum"),
    "album.make": ("New album", "Álbum nuevo"),
    "album.rename": ("Rename", "Cambiar el nombre"),
    "album.rename_of": ("Rename {name}", "Cambiar el nombre de {name}"),
    "album.delete": ("Delete", "Borrar"),
    "album.delete_of": ("Delete the album {name}", "Borrar el álbum {name}"),
    "album.sure": (
        "Delete the album “{name}”? Its images stay.",
        "¿Borrar el álbum «{name}»? Sus imágenes se quedan.",
    ),
    "album.save": ("Save this search", "Guardar esta búsqueda"),
    "album.saved": ("The search “{name}” is saved", "La búsqueda «{name}» está guardada"),
    "album.forget": ("Forget", "Olvidar"),
    "album.forget_of": ("Forget the search {name}", "Olvidar la búsqueda {name}"),
    "album.there": (
        "There is an album called “{name}” already.",
        "Ya hay un álbum llamado «{name}».",
    ),
    "album.suggestions": ("Suggestions", "Sugerencias"),
    "album.recent": ("Recent searches", "Búsquedas recientes"),
    "album.forget_recent": ("Clear", "Borrar"),
    "album.examples": ("Try", "Prueba"),
    "picked.nothing": ("No image is selected.", "No hay ninguna imagen seleccionada."),
    "picked.too_many": (
        "Select at most {n} images.",
        "Selecciona como máximo {n} imágenes.",
    ),
    # search
    "search.label": ("What are you looking for?", "¿Qué buscas?"),
    "search.placeholder": (
        "a dog on the beach, a red car at night …",
        "un perro en la playa, un coche rojo de noche …",
    ),
    "search.go": ("Search", "Buscar"),
    "search.index": ("Collection", "Colección"),
    "search.picture": ("Drop, paste or choose an image", "Suelta, pega o elige una imagen"),
    "search.refine_label": ("Add or avoid …", "Añadir o evitar …"),
    "search.add": ("Add", "Añadir"),
    "search.avoid": ("Avoid", "Evitar"),
    "search.chip_weight": ("Weight of {label}", "Peso de {label}"),
    "search.chip_flip": (
        "{label}: added; avoid it instead",
        "{label}: añadido; evitarlo",
    ),
    "search.chip_unflip": (
        "{label}: avoided; add it instead",
        "{label}: evitado; añadirlo",
    ),
    "search.chip_remove": ("Remove {label}", "Quitar {label}"),
    "search.chip_picture": ("image", "imagen"),
    "search.chip_item": ("item {id}", "elemento {id}"),
    "search.filters": ("Filters and options", "Filtros y opciones"),
    "search.clear": ("Clear all", "Borrar todo"),
    "search.browse": ("{n} images in {index}", "{n} imágenes en {index}"),
    "search.browse_one": ("1 image in {index}", "1 imagen en {index}"),
    "search.browse_some": (
        "{found} of {n} images in {index}",
        "{found} de {n} imágenes en {index}",
    ),
    "search.more_than": ("more than {n}", "más de {n}"),
    "search.count": ("{n} results", "{n} resultados"),
    "search.count_one": ("1 result", "1 resultado"),
    "search.count_more": ("more than {n} results", "más de {n} resultados"),
    "search.ranked": ("all {n} images, best first", "las {n} imágenes, mejores primero"),
    "search.away": (
        "{n} items are away: their files cannot be found now",
        "{n} elementos están ausentes: sus archivos no se encuentran ahora",
    ),
    "search.away_one": (
        "1 item is away: its file cannot be found now",
        "1 elemento está ausente: su archivo no se encuentra ahora",
    ),
    "search.hidden": (
        "{index} was copied, moved or made by an older version, so images of it are not shown: run "
        "“clipsearch index FOLDER -i {index}” on their folder, or start with “--root FOLDER”",
        "{index} se copió, se movió o es de una versión anterior, así que no se muestran imágenes "
        "suyas: ejecuta «clipsearch index CARPETA -i {index}» con su carpeta, o inicia con "
        "«--root CARPETA»",
    ),
    "search.others": (
        "{n} marked or chosen images were left out, for other images have their ids now",
        "se dejaron fuera {n} imágenes marcadas o elegidas, pues ahora otras tienen sus números",
    ),
    "search.others_one": (
        "1 marked or chosen image was left out, for another image has its id now",
        "se dejó fuera 1 imagen marcada o elegida, pues ahora otra tiene su número",
    ),
    "search.took": ("in {ms} ms", "en {ms} ms"),
    "search.approximate": ("approximate index used", "con índice aproximado"),
    "search.weak": ("nothing fits well", "nada encaja bien"),
    "search.filtered": ("{n} filters", "{n} filtros"),
    "search.filtered_one": ("1 filter", "1 filtro"),
    "search.refined": (
        "Refined by {up} liked and {down} disliked",
        "Afinado con {up} a favor y {down} en contra",
    ),
    "search.undo": ("undo", "deshacer"),
    "search.copy_link": ("Copy link", "Copiar enlace"),
    "search.copy_command": ("Copy command", "Copiar comando"),
    "search.copy_python": ("Copy Python", "Copiar Python"),
    "search.share": ("Use this search elsewhere", "Usar esta búsqueda en otro lugar"),
    "search.inexact": (
        "The command leaves out thumbs up and down and avoided images of the collection; the Python code includes them. Your own images appear by file name.",
        "El comando omite los votos y las imágenes de la colección que se evitan; el código Python los incluye. Tus imágenes aparecen por su nombre de archivo.",
    ),
    "search.relevance": ("Minimum relevance", "Relevancia mínima"),
    "search.relevance_help": (
        "Distribution of the scores of {n} images. Drag to hide lower scores.",
        "Distribución de las puntuaciones de {n} imágenes. Arrastra para ocultar las menores.",
    ),
    "search.relevance_off": ("Show all", "Mostrar todo"),
    "search.relevance_auto": ("Better than chance", "Mejor que el azar"),
    "search.score": ("Score {score}", "Puntuación {score}"),
    "search.score_share": (
        "Score {score}; better than {percent} % of unrelated pairs",
        "Puntuación {score}; mejor que el {percent} % de los pares sin relación",
    ),
    "search.open": ("Open {name}", "Abrir {name}"),
    "search.up": ("More like {name}", "Más como {name}"),
    "search.down": ("Less like {name}", "Menos como {name}"),
    "search.none_title": ("Nothing found", "No se ha encontrado nada"),
    "search.none_text": (
        "No image matches these filters and the minimum relevance.",
        "Ninguna imagen cumple estos filtros y la relevancia mínima.",
    ),
    "search.none_sorted": (
        "Nothing fits well enough to be sorted. Sorted by best match, the nearest images are shown.",
        "Nada encaja lo bastante para ordenarlo. Con el orden por mejor acierto se muestran las imágenes más cercanas.",
    ),
    "search.none_filtered": (
        "No image matches these filters.",
        "Ninguna imagen cumple estos filtros.",
    ),
    "search.nothing_asked": (
        "There is nothing to search for; add words or an image first.",
        "No hay nada que buscar; añade primero palabras o una imagen.",
    ),
    "search.other_model": (
        "The image in this search was encoded with a different model from this collection's; add the image again.",
        "La imagen de esta búsqueda se codificó con un modelo distinto del de esta colección; añádela de nuevo.",
    ),
    "search.damaged": (
        "The image in this link is damaged; add it again.",
        "La imagen de este enlace está dañada; añádela de nuevo.",
    ),
    "search.bad_date": (
        "{text} is not a date; write one like 2024-05-31, 2024-05 or 2024.",
        "{text} no es una fecha; escríbela como 2024-05-31, 2024-05 o 2024.",
    ),
    "search.bad_filter": (
        "{detail}",
        "No se entiende la expresión de filtro. Detalle, en inglés: {detail}",
    ),
    "search.other_selection": (
        "That selection was made in another collection.",
        "Esa selección se hizo en otra colección.",
    ),
    "search.selection_gone": (
        "That selection is no longer kept. Select the images on the map again.",
        "Esa selección ya no se conserva. Vuelve a seleccionar las imágenes en el mapa.",
    ),
    "search.gallery": ("Results", "Resultados"),
    "search.fitting": ("{n} clear matches", "{n} aciertos claros"),
    "search.fitting_one": ("1 clear match", "1 acierto claro"),
    "search.unclear": ("no clear match", "ningún acierto claro"),
    "search.nearest": ("{n} images, nearest first", "{n} imágenes, las más cercanas primero"),
    "search.nearest_one": ("1 image, the nearest", "1 imagen, la más cercana"),
    "search.numbers": ("Show scores as numbers", "Mostrar puntuaciones en números"),
    "search.size": ("Size of the images", "Tamaño de las imágenes"),
    "search.to_top": ("To the best results", "A los mejores resultados"),
    # filters, the timeline, the order
    "facet.year": ("Year", "Año"),
    "facet.month": ("Month", "Mes"),
    "facet.dates": ("Date", "Fecha"),
    "facet.folder": ("Folder", "Carpeta"),
    "facet.album": ("Album", "Álbum"),
    "facet.camera": ("Camera", "Cámara"),
    "facet.tag": ("Tag", "Etiqueta"),
    "facet.format": ("Format", "Formato"),
    "facet.orientation": ("Orientation", "Orientación"),
    "facet.size": ("File size", "Tamaño del archivo"),
    "facet.caption": ("Caption", "Descripción"),
    "facet.no_year": ("no date", "sin fecha"),
    "facet.no_month": ("no date", "sin fecha"),
    "facet.no_album": ("in no album", "en ningún álbum"),
    "facet.no_camera": ("unknown", "desconocida"),
    "facet.no_tag": ("no tag", "sin etiqueta"),
    "facet.no_format": ("unknown", "desconocido"),
    "facet.no_orientation": ("unknown", "desconocida"),
    "facet.no_size": ("unknown", "desconocido"),
    "facet.no_caption": ("none", "ninguna"),
    "facet.with_caption": ("any", "alguna"),
    "facet.landscape": ("landscape", "apaisada"),
    "facet.portrait": ("portrait", "vertical"),
    "facet.square": ("square", "cuadrada"),
    "facet.since": ("Since {value}", "Desde {value}"),
    "facet.until": ("Until {value}", "Hasta {value}"),
    "facet.wide": ("At least {value} pixels wide", "Al menos {value} píxeles de ancho"),
    "facet.where": ("Filter: {value}", "Filtro: {value}"),
    "facet.has_tag": ("Tag: {value}", "Etiqueta: {value}"),
    "facet.has_camera": ("Camera: {value}", "Cámara: {value}"),
    "facet.selection": ("Selected images", "Imágenes seleccionadas"),
    "facet.all": ("{n} images", "{n} imágenes"),
    "facet.of": ("{n} of {all}", "{n} de {all}"),
    "facet.clear": ("Clear filters", "Quitar filtros"),
    "facet.done": ("Show results", "Ver resultados"),
    "facet.more": ("Show all {n}", "Mostrar los {n}"),
    "facet.less": ("Show fewer", "Mostrar menos"),
    "facet.find": ("Find in the list", "Buscar en la lista"),
    "facet.expand": ("Open {name}", "Abrir {name}"),
    "facet.from": ("From", "Desde"),
    "facet.to": ("To", "Hasta"),
    "facet.options": ("More options", "Más opciones"),
    "facet.width": ("Minimum width", "Anchura mínima"),
    "facet.any": ("any", "cualquiera"),
    "facet.expression": ("Filter expression", "Expresión de filtro"),
    "facet.compare": ("Compare with", "Comparar con"),
    "facet.images": ("images", "imágenes"),
    "facet.captions": ("captions", "descripciones"),
    "facet.hybrid": (
        "Also match words in captions",
        "Buscar también palabras en las descripciones",
    ),
    "facet.failed": ("The filters could not be counted.", "No se han podido contar los filtros."),
    "facet.sort": ("Sort by", "Ordenar por"),
    "facet.best": ("Best match", "Mejor acierto"),
    "facet.newest": ("Newest first", "Más recientes"),
    "facet.oldest": ("Oldest first", "Más antiguas"),
    "facet.largest": ("Largest files first", "Archivos mayores"),
    "facet.timeline": ("Timeline", "Línea de tiempo"),
    "facet.undated": ("No date", "Sin fecha"),
    # the large view, and what cards say
    "view.fit_strong": ("strong match", "encaja muy bien"),
    "view.fit_good": ("good match", "encaja bien"),
    "view.fit_weak": ("possible match", "posible acierto"),
    "view.below": (
        "From here on, a match may be mere chance",
        "A partir de aquí, el parecido puede ser casualidad",
    ),
    "view.nothing": (
        "Nothing fits well. These are the nearest images.",
        "Nada encaja bien. Estas son las imágenes más cercanas.",
    ),
    "view.close": ("Close", "Cerrar"),
    "view.this": ("Search by this image", "Buscar por esta imagen"),
    "view.map": ("Show on the map", "Mostrar en el mapa"),
    "view.download": ("Download", "Descargar"),
    "view.no_item": (
        "That image is not in the collection.",
        "Esa imagen no está en la colección.",
    ),
    "view.original": ("Open original", "Abrir original"),
    "view.path": ("Copy path", "Copiar ruta"),
    "view.zoom": ("Zoom to 100 % (double click)", "Ampliar al 100 % (doble clic)"),
    "view.full": ("Full screen (F)", "Pantalla completa (F)"),
    "view.info": ("Show or hide details (I)", "Mostrar u ocultar detalles (I)"),
    "view.region": ("Search by a part of the image", "Buscar por una parte de la imagen"),
    "view.region_go": ("Search this part", "Buscar esta parte"),
    "view.region_stop": ("Cancel", "Cancelar"),
    "view.region_help": (
        "Draw a box, or move it with the arrow keys (Shift changes its size).",
        "Dibuja un recuadro, o muévelo con las flechas (Mayús cambia su tamaño).",
    ),
    "view.region_small": (
        "That part is too small to search for; draw a larger box.",
        "Esa parte es demasiado pequeña para buscarla; dibuja un recuadro mayor.",
    ),
    "view.region_of": ("part of {name}", "parte de {name}"),
    # one result
    "item.more": ("More like this", "Más como esta"),
    "item.less": ("Less like this", "Menos como esta"),
    "item.caption": ("Find its caption", "Buscar su descripción"),
    "item.why": ("Why this?", "¿Por qué esta?"),
    "item.close": ("Close", "Cerrar"),
    "item.next": ("Next image", "Imagen siguiente"),
    "item.previous": ("Previous image", "Imagen anterior"),
    "item.id": ("ID", "ID"),
    "item.file": ("File", "Archivo"),
    "item.path": ("Folder", "Carpeta"),
    "item.size": ("Size", "Tamaño"),
    "item.taken": ("Taken", "Tomada"),
    "item.camera": ("Camera", "Cámara"),
    "item.place": ("Place", "Lugar"),
    "item.tags": ("Tags", "Etiquetas"),
    "item.captions_found": ("Best-matching captions", "Descripciones que mejor encajan"),
    "item.words_found": (
        "This collection has no captions. Best-matching words:",
        "Esta colección no tiene descripciones. Palabras que mejor encajan:",
    ),
    "item.picture_gone": (
        "The image file is missing or cannot be shown.",
        "El archivo de la imagen falta o no se puede mostrar.",
    ),
    "pictures.too_large": (
        "{name} is larger than {mb} MB.",
        "{name} ocupa más de {mb} MB.",
    ),
    # classify
    "classify.drop": ("Drop, paste or choose images", "Suelta, pega o elige imágenes"),
    "classify.given": ("Added images", "Imágenes añadidas"),
    "classify.remove_all": ("Remove all", "Quitar todas"),
    "classify.sets": ("Label sets", "Conjuntos de etiquetas"),
    "classify.own": ("my own", "propias"),
    "classify.set_animals": ("animals", "animales"),
    "classify.set_scenes": ("scenes", "escenas"),
    "classify.set_things": ("kinds of images", "tipos de imágenes"),
    "classify.labels": ("Labels", "Etiquetas"),
    "classify.labels_info": (
        "One per line; synonyms after a colon: “cat: kitten, tabby”",
        "Una por línea; sinónimos tras dos puntos: «cat: kitten, tabby»",
    ),
    "classify.none": ("Allow “none of these”", "Permitir «ninguna de estas»"),
    "classify.none_label": ("none of these", "ninguna de estas"),
    "classify.templates": ("Prompt templates", "Plantillas de frases"),
    "classify.templates_openai": (
        "80 templates of the CLIP paper",
        "80 plantillas del artículo de CLIP",
    ),
    "classify.templates_simple": ("7 short templates", "7 plantillas cortas"),
    "classify.templates_none": ("label only", "solo la etiqueta"),
    "classify.why": ("Why this label for {name}?", "¿Por qué esta etiqueta para {name}?"),
    "classify.go": ("Classify", "Clasificar"),
    "classify.hint": (
        "Add one or more images to see which label fits each.",
        "Añade una o varias imágenes para ver qué etiqueta encaja con cada una.",
    ),
    "classify.no_labels": ("Type at least one label.", "Escribe al menos una etiqueta."),
    "classify.probabilities": ("Probabilities", "Probabilidades"),
    "classify.column_0": ("Image", "Imagen"),
    "classify.column_1": ("Best", "Mejor"),
    "classify.column_2": ("Second", "Segunda"),
    "classify.column_3": ("Third", "Tercera"),
    "classify.csv": ("Download as CSV", "Descargar como CSV"),
    "classify.learn": ("Learn labels from examples", "Aprender etiquetas con ejemplos"),
    "classify.learn_info": (
        "Two or three images per label are enough: name a label, drop its images, continue with the next label, then press Learn.",
        "Bastan dos o tres imágenes por etiqueta: nombra una, suelta sus imágenes, continúa con la siguiente y pulsa Aprender.",
    ),
    "classify.example_label": ("Label of the examples", "Etiqueta de los ejemplos"),
    "classify.example_drop": ("Examples of this label", "Ejemplos de esta etiqueta"),
    "classify.example_needs_label": (
        "Name the label first, then drop its images.",
        "Primero nombra la etiqueta y después suelta sus imágenes.",
    ),
    "classify.train": ("Learn", "Aprender"),
    "classify.forget": ("Start again", "Empezar de nuevo"),
    "classify.two_labels": (
        "Add examples of at least two labels.",
        "Añade ejemplos de al menos dos etiquetas.",
    ),
    "classify.accuracy": (
        "Learned from {n} examples. Cross-validated accuracy: {fitted}; zero-shot, from the words alone: {zero}.",
        "Aprendido de {n} ejemplos. Exactitud por validación cruzada: {fitted}; zero-shot, solo con las palabras: {zero}.",
    ),
    "classify.accuracy_unknown": (
        "Learned. There are too few examples to measure the accuracy; add at least two per label.",
        "Aprendido. Hay muy pocos ejemplos para medir la exactitud; añade al menos dos por etiqueta.",
    ),
    "classify.download_pack": ("Download the label pack", "Descargar el paquete de etiquetas"),
    "classify.with_pack": (
        "Classified with the labels learned from your examples.",
        "Clasificado con las etiquetas aprendidas de tus ejemplos.",
    ),
    # why
    "why.lead": (
        "Which part of an image matches a text? Drop an image, or open “Why this?” on a result.",
        "¿Qué parte de una imagen corresponde a un texto? Suelta una imagen, o abre «¿Por qué esta?» en un resultado.",
    ),
    "why.drop": ("Drop, paste or choose an image", "Suelta, pega o elige una imagen"),
    "why.texts": ("Texts", "Textos"),
    "why.texts_info": ("One per line, up to four", "Uno por línea, hasta cuatro"),
    "why.placeholder": ("a cat", "un gato"),
    "why.go": ("Show the regions", "Mostrar las regiones"),
    "why.hint": ("Add an image and a text.", "Añade una imagen y un texto."),
    "why.need_text": (
        "Now type what to look for in the image.",
        "Ahora escribe qué buscar en la imagen.",
    ),
    "why.strength": ("Color strength", "Intensidad de los colores"),
    "why.less": ("weak match", "poca relación"),
    "why.more": ("strong match", "mucha relación"),
    "why.method_layers": (
        "Computed from the layers of the model, relative to the average everyday word.",
        "Calculado a partir de las capas del modelo, respecto a la palabra cotidiana media.",
    ),
    "why.method_covering": (
        "Measured by blurring one region at a time, relative to the average everyday word.",
        "Medido difuminando las regiones de una en una, respecto a la palabra cotidiana media.",
    ),
    "why.alt": (
        "Heat map for “{text}”: strongest at {place}",
        "Mapa de calor para «{text}»: más fuerte en {place}",
    ),
    "why.alt_none": (
        "“{text}” was not found in this image",
        "«{text}» no se encuentra en esta imagen",
    ),
    "why.not_found": (
        "Not found in this image: it fits no better than chance.",
        "No se encuentra en esta imagen: no encaja mejor que por azar.",
    ),
    "why.top": ("top", "arriba"),
    "why.middle": ("middle", "en medio"),
    "why.bottom": ("bottom", "abajo"),
    "why.left": ("left", "izquierda"),
    "why.centre": ("center", "centro"),
    "why.right": ("right", "derecha"),
    # map
    "map.making_title": ("Drawing the map", "Dibujando el mapa"),
    "map.making_text": (
        "Computing a position for every image; this takes a while the first time.",
        "Calculando la posición de cada imagen; la primera vez tarda un poco.",
    ),
    "map.colour": ("Color by", "Color según"),
    "map.by_cluster": ("group", "grupo"),
    "map.by_tag": ("tag", "etiqueta"),
    "map.by_score": ("match with the search", "acierto con la búsqueda"),
    "map.groups": ("Groups", "Grupos"),
    "map.no_tag": ("no tag", "sin etiqueta"),
    "map.group": ("group {n}", "grupo {n}"),
    "map.scores": ("Score for “{text}”", "Puntuación de «{text}»"),
    "map.low": ("unrelated", "sin relación"),
    "map.high": ("fits", "encaja"),
    "map.chance": (
        "Right of the mark, at {score}, an image fits better than chance.",
        "A la derecha de la marca, en {score}, una imagen encaja mejor que por azar.",
    ),
    "map.none_fit": (
        "No image fits this text better than chance, which reaches {score}.",
        "Ninguna imagen encaja con este texto mejor que por azar, que llega a {score}.",
    ),
    "map.choose_fitting": ("Select those that fit", "Seleccionar las que encajan"),
    "map.need_text": (
        "Search for something above to color the images by how well they fit.",
        "Busca algo arriba para colorear las imágenes según lo bien que encajan.",
    ),
    "map.help": (
        "Choose a group here, or draw around images on the map, to select them. Shift adds to the selection.",
        "Elige un grupo aquí, o rodea imágenes en el mapa, para seleccionarlas. Mayúsculas añade a la selección.",
    ),
    "map.tools": ("What dragging does", "Lo que hace arrastrar"),
    "map.move": ("Move", "Mover"),
    "map.box": ("Rectangle", "Rectángulo"),
    "map.lasso": ("Lasso", "Lazo"),
    "map.zooming": ("Zoom", "Ampliación"),
    "map.zoom_in": ("Zoom in (+)", "Acercar (+)"),
    "map.zoom_out": ("Zoom out (-)", "Alejar (-)"),
    "map.fit": ("Whole map (0)", "Todo el mapa (0)"),
    "map.sight": ("Select what is in view", "Seleccionar lo visible"),
    "map.no_item": (
        "That image is not on this map.",
        "Esa imagen no está en este mapa.",
    ),
    "map.alt": (
        "Map of {n} images. Arrow keys move it, + and - zoom, 0 shows all of it, Enter opens the image in the middle, Escape clears the selection.",
        "Mapa de {n} imágenes. Las flechas lo mueven, + y - acercan y alejan, 0 lo muestra entero, Intro abre la imagen del centro, Escape quita la selección.",
    ),
    # curate
    "curate.lead": (
        "Find copies, captions that do not match and odd images, and mark what should go.",
        "Encuentra copias, descripciones que no encajan e imágenes raras, y marca lo que sobra.",
    ),
    "curate.safe": ("Nothing is deleted from disk.", "No se borra nada del disco."),
    "curate.what": ("Look for", "Buscar"),
    "curate.duplicates": ("Near-duplicates", "Casi duplicados"),
    "curate.pairs": ("Mismatched captions", "Descripciones que no encajan"),
    "curate.outliers": ("Outliers", "Imágenes atípicas"),
    "curate.threshold": ("Compare from a similarity of", "Comparar desde una similitud de"),
    "curate.auto": ("automatic", "automática"),
    "curate.kinds": ("Kinds", "Clases"),
    "curate.kind_bytes": ("Same bytes", "Mismos bytes"),
    "curate.kind_pixels": ("Same pixels", "Mismos píxeles"),
    "curate.kind_looks": ("Look alike", "Se parecen"),
    "curate.is_leader": ("Leader", "Referencia"),
    "curate.leader_help": (
        "The largest image. The others are compared with it.",
        "La imagen más grande. Las demás se comparan con ella.",
    ),
    "curate.is_bytes": ("Same bytes", "Mismos bytes"),
    "curate.is_pixels": ("Same pixels", "Mismos píxeles"),
    "curate.is_looks": ("Looks alike", "Se parece"),
    "curate.is_unchecked": ("Not compared: a file is away", "Sin comparar: falta un archivo"),
    "curate.kinds_help": (
        "Same bytes: the files are equal. Same pixels: the decoded images are equal. Look alike: the same picture smaller, compressed, cropped or brighter.",
        "Mismos bytes: los archivos son iguales. Mismos píxeles: las imágenes decodificadas son iguales. Se parecen: la misma imagen más pequeña, comprimida, recortada o más clara.",
    ),
    "curate.similarity": ("similarity {score}", "similitud {score}"),
    "curate.keep_pixels": ("Keep: most pixels", "Conservar: más píxeles"),
    "curate.keep_size": ("Keep: largest file", "Conservar: archivo más grande"),
    "curate.keep_known": (
        "Keep: has caption, tags or albums",
        "Conservar: tiene descripción, etiquetas o álbumes",
    ),
    "curate.keep_path": ("Keep: shortest path", "Conservar: ruta más corta"),
    "curate.no_duplicates": (
        "No two images are duplicates of the chosen kinds.",
        "No hay dos imágenes duplicadas de las clases elegidas.",
    ),
    "curate.groups": ("{n} groups", "{n} grupos"),
    "curate.groups_one": ("1 group", "1 grupo"),
    "curate.copies": (
        "{n} copies beside the ones to keep",
        "{n} copias además de las que se conservan",
    ),
    "curate.copies_one": ("1 copy beside the one to keep", "1 copia además de la que se conserva"),
    "curate.within": ("within the current filter", "dentro del filtro actual"),
    "curate.group": ("Group {n}: {count} images", "Grupo {n}: {count} imágenes"),
    "curate.waiting": (
        "Another search for duplicates comes first…",
        "Antes termina otra búsqueda de duplicados…",
    ),
    "curate.vectors": (
        "Looking for similar images: {done} of {of}",
        "Buscando imágenes similares: {done} de {of}",
    ),
    "curate.images": ("Comparing images: {done} of {of}", "Comparando imágenes: {done} de {of}"),
    "curate.beginning": ("Looking for duplicates…", "Buscando duplicados…"),
    "curate.busy_list": (
        "Duplicates are still being looked for; try again when they are shown.",
        "Aún se buscan duplicados; inténtalo de nuevo cuando se muestren.",
    ),
    "curate.no_pairs": (
        "No image here has a caption.",
        "Ninguna imagen tiene aquí descripción.",
    ),
    "curate.pairs_help": (
        "Images that match their captions least, worst first",
        "Imágenes que menos encajan con su descripción, las peores primero",
    ),
    "curate.no_outliers": (
        "There are too few images to compare.",
        "Hay muy pocas imágenes que comparar.",
    ),
    "curate.outliers_help": (
        "Images least similar to all others; the number is the mean similarity to the nearest five",
        "Imágenes menos parecidas a las demás; el número es la similitud media con las cinco más cercanas",
    ),
    "curate.mark": ("Mark {name}", "Marcar {name}"),
    "curate.open": ("Enlarge {name}", "Ampliar {name}"),
    "curate.rest": ("Mark the others", "Marcar las demás"),
    "curate.mark_rest": (
        "Mark all but the ones to keep",
        "Marcar todas menos las que se conservan",
    ),
    "curate.none_left": (
        "All are marked: no copy would stay.",
        "Todas están marcadas: no quedaría ninguna copia.",
    ),
    "curate.list": ("What may be deleted", "Lo que se puede borrar"),
    "curate.list_help": (
        "Says for each marked file whether a copy stays. Its file is looked at on disk now.",
        "Dice de cada archivo marcado si queda una copia. Su archivo se mira ahora en el disco.",
    ),
    "curate.all": ("Show all {n}", "Mostrar las {n}"),
    "curate.compare": ("Compare", "Comparar"),
    "curate.compare_title": ("Compare copies", "Comparar copias"),
    "curate.side": ("Side by side", "Juntas"),
    "curate.slider": ("Slider", "Deslizador"),
    "curate.blink": ("Blink", "Alternar"),
    "curate.difference": ("Difference", "Diferencia"),
    "curate.slide": ("Show more of the first image", "Mostrar más de la primera imagen"),
    "curate.pause": ("Pause", "Pausar"),
    "curate.play": ("Play", "Reproducir"),
    "curate.equal": ("All pixels are equal.", "Todos los píxeles son iguales."),
    "curate.equal_scaled": (
        "No difference at the size of the smaller image.",
        "Sin diferencias al tamaño de la imagen más pequeña.",
    ),
    "curate.differs": (
        "{share} % of the pixels differ by more than {levels} of 255 levels, the most by {most}",
        "El {share} % de los píxeles difiere en más de {levels} de 255 niveles; el máximo es {most}",
    ),
    "curate.cropped": (
        "compared: the {common} % of the first image that both show",
        "se compara el {common} % de la primera imagen que muestran ambas",
    ),
    "curate.scaled": ("at the size of the smaller one", "al tamaño de la más pequeña"),
    "curate.previous": ("Previous copy", "Copia anterior"),
    "curate.next": ("Next copy", "Copia siguiente"),
    "curate.close": ("Close", "Cerrar"),
    # adding images
    "add.open": ("Add photos", "Añadir fotos"),
    "build.lead": (
        "Make a collection searchable. Images stay where they are; only their embeddings are stored.",
        "Haz que una colección se pueda buscar. Las imágenes no se mueven; solo se guardan sus vectores.",
    ),
    "build.goal": ("Where to", "Adónde"),
    "build.goal_this": ("Add to “{name}”", "Añadir a «{name}»"),
    "build.goal_new": ("New collection", "Nueva colección"),
    "build.name": ("Name of the new collection", "Nombre de la nueva colección"),
    "build.name_info": (
        "Letters, digits, dots, dashes and underscores",
        "Letras, cifras, puntos, guiones y guiones bajos",
    ),
    "build.bad_name": (
        "A collection's name has at most 64 letters, digits, dots, dashes and underscores.",
        "El nombre de una colección tiene como máximo 64 letras, cifras, puntos, guiones y guiones bajos.",
    ),
    "build.from_server": ("A folder or table on the server", "Una carpeta o tabla del servidor"),
    "build.no_roots": (
        "No folder on the server may be indexed from here. The operator can allow one with: clipsearch ui --root FOLDER",
        "Desde aquí no se puede indexar ninguna carpeta del servidor. El operador puede permitir una con: clipsearch ui --root CARPETA",
    ),
    "build.root": ("Allowed folder", "Carpeta permitida"),
    "build.below": ("Subfolder or table", "Subcarpeta o tabla"),
    "build.below_info": (
        "Optional: a subfolder, or a table (.csv, .jsonl, .parquet); empty for the whole folder",
        "Opcional: una subcarpeta o una tabla (.csv, .jsonl, .parquet); vacío para toda la carpeta",
    ),
    "build.start": ("Index", "Indexar"),
    "build.from_browser": ("Images from this device", "Imágenes de este dispositivo"),
    "build.drop": ("Drop, paste or choose images", "Suelta, pega o elige imágenes"),
    "build.drop_info": (
        "They are reduced to 1280 pixels, stripped of EXIF data and stored on the server beside the collections.",
        "Se reducen a 1280 píxeles, sin datos EXIF, y se guardan en el servidor junto a las colecciones.",
    ),
    "build.nothing_there": ("There is nothing at {path}.", "No hay nada en {path}."),
    "build.not_allowed": (
        "That folder may not be indexed from here.",
        "Esa carpeta no se puede indexar desde aquí.",
    ),
    "build.leads_out": (
        "That path leads out of the allowed folder.",
        "Esa ruta sale de la carpeta permitida.",
    ),
    "build.busy": (
        "Another collection is being built; wait for it or cancel it.",
        "Se está construyendo otra colección; espera o cancélala.",
    ),
    "build.state_running": ("Building {name}", "Construyendo {name}"),
    "build.state_done": ("{name} is ready", "{name} está lista"),
    "build.state_cancelled": (
        "Canceled; {name} keeps what was indexed",
        "Cancelado; {name} conserva lo indexado",
    ),
    "build.state_failed": ("{name} was not built", "{name} no se ha construido"),
    "build.preparing": (
        "Loading the model and listing the files …",
        "Cargando el modelo y listando los archivos …",
    ),
    "build.progress": ("Progress", "Progreso"),
    "build.rate": (
        "{seen} of {total} files · {rate} images per second · {seconds} s",
        "{seen} de {total} archivos · {rate} imágenes por segundo · {seconds} s",
    ),
    "build.cancel": ("Cancel", "Cancelar"),
    "build.kept": ("{n} new images were kept.", "Se han conservado {n} imágenes nuevas."),
    "build.indexed": ("indexed", "indexadas"),
    "build.unchanged": ("unchanged", "sin cambios"),
    "build.duplicate": ("duplicates", "duplicadas"),
    "build.skipped": ("skipped", "omitidas"),
    "build.away": ("away", "ausentes"),
    "build.speed": (
        "{rate} images per second, {seconds} s in total.",
        "{rate} imágenes por segundo, {seconds} s en total.",
    ),
    "build.bottleneck": (
        "The bottleneck was {stage}, busy {share} of the time.",
        "El cuello de botella fue {stage}, ocupado el {share} del tiempo.",
    ),
    "build.stage_decode": ("decoding images", "decodificar imágenes"),
    "build.stage_encode": ("the model", "el modelo"),
    "build.stage_write": ("writing", "escribir"),
    "build.stage_read": ("reading", "leer"),
    "build.reasons": ("Why files were skipped", "Por qué se han omitido archivos"),
    "build.search_it": ("Search it", "Buscar en ella"),
    # learn
    "learn.title": ("One space for images and words", "Un espacio para imágenes y palabras"),
    "learn.p1": (
        "A CLIP model has two encoders: the image encoder turns an image into an arrow (a vector of a few hundred numbers), and the text encoder does the same with a text. Both arrows live in one space and have length one. How well a text fits an image is the cosine of the angle between them. Try it:",
        "Un modelo CLIP tiene dos codificadores: el de imágenes convierte una imagen en una flecha (un vector de unos cientos de números) y el de texto hace lo mismo con un texto. Ambas flechas viven en un mismo espacio y miden uno. Lo bien que un texto encaja con una imagen es el coseno del ángulo entre ellas. Pruébalo:",
    ),
    "learn.default_texts": ("a cat\na cup of coffee", "a cat\na cup of coffee"),
    "learn.texts": ("Texts", "Textos"),
    "learn.texts_info": (
        "One per line, up to three",
        "Uno por línea, hasta tres; el modelo incluido entiende mejor el inglés",
    ),
    "learn.drop": ("Other images", "Otras imágenes"),
    "learn.pick": ("Or pick from {index}", "O elige de {index}"),
    "learn.pick_one": ("Show {name}", "Mostrar {name}"),
    "learn.scale": ("Scale (1 / temperature)", "Escala (1 / temperatura)"),
    "learn.scale_info": (
        "Many CLIP models learn 100",
        "Muchos modelos CLIP aprenden 100",
    ),
    "learn.scale_learnt": (
        "This model learned {scale}; many CLIP models learn 100",
        "Este modelo aprendió {scale}; muchos modelos CLIP aprenden 100",
    ),
    "learn.need": (
        "Type at least one text and add at least one image.",
        "Escribe al menos un texto y añade al menos una imagen.",
    ),
    "learn.matrix": (
        "Cosine, and softmax over the texts of each image",
        "Coseno, y softmax sobre los textos de cada imagen",
    ),
    "learn.matrix_help": (
        "The number is the cosine. The bar is the softmax of the row at this scale. Drag the scale down and the model becomes unsure, although no cosine has changed.",
        "El número es el coseno. La barra es la softmax de la fila con esta escala. Baja la escala y el modelo duda, aunque ningún coseno haya cambiado.",
    ),
    "learn.h_softmax": (
        "From cosines to probabilities",
        "De cosenos a probabilidades",
    ),
    "learn.p2": (
        "Cosines of good pairs are small and close together, such as 0.3 and 0.2. The model multiplies them by its scale before the softmax, p = exp(s·c) / Σ exp(s·c), so that a small difference decides. The probabilities of a row add up to one: the softmax always picks one of the texts that you gave, even if none of them fits.",
        "Los cosenos de los buenos pares son pequeños y cercanos, 0,3 frente a 0,2. El modelo los multiplica por su escala antes de la softmax, p = exp(s·c) / Σ exp(s·c), para que una diferencia pequeña decida. Las probabilidades de una fila suman uno: la softmax siempre elige uno de los textos dados, aunque ninguno encaje.",
    ),
    "learn.h_prompts": ("The sentence around a word", "La frase alrededor de una palabra"),
    "learn.p3": (
        "The model was trained on captions, not on single words. Putting a label into sentences such as “a photo of a …” and averaging their arrows gives a more stable class arrow. Here are the same image and labels with three sets of templates:",
        "El modelo se entrenó con descripciones, no con palabras sueltas. Poner una etiqueta en frases como «a photo of a …» y promediar sus flechas da una flecha de clase más estable. Aquí están la misma imagen y las mismas etiquetas con tres conjuntos de plantillas:",
    ),
    "learn.prompts": (
        "Probabilities of the first image, by template set",
        "Probabilidades de la primera imagen, por conjunto de plantillas",
    ),
    "learn.h_train": ("How it was trained", "Cómo se entrenó"),
    "learn.p4": (
        "Training shows the model a batch of images with their captions, and asks for a matrix like the one above whose diagonal wins in every row and every column. That is all: no class was ever named. Search is the same matrix with one text and all your images.",
        "El entrenamiento muestra al modelo un lote de imágenes con sus descripciones y pide una matriz como la de arriba cuya diagonal gane en cada fila y cada columna. Eso es todo: nunca se nombró una clase. Buscar es la misma matriz con un texto y todas tus imágenes.",
    ),
    # learn: the lessons
    "learn.lessons": ("Lessons", "Lecciones"),
    "learn.lesson_space": ("One space", "Un espacio"),
    "learn.lesson_contrast": ("Contrastive training", "Entrenamiento contrastivo"),
    "learn.lesson_attention": ("Self-attention", "Autoatención"),
    # learn: contrastive training
    "learn.c_title": (
        "Contrastive training: pull and push",
        "Entrenamiento contrastivo: acercar y alejar",
    ),
    "learn.c_p1": (
        "Where does the space of the first lesson come from? Training takes a batch of images, each with its own caption, and compares every image with every caption. The pairs that belong together lie on the diagonal. The loss is small when each pair is more similar than all the others of its row and of its column.",
        "¿De dónde sale el espacio de la primera lección? El entrenamiento toma un lote de imágenes, cada una con su descripción, y compara cada imagen con cada descripción. Las parejas que van juntas están en la diagonal. La pérdida es pequeña cuando cada pareja se parece más que todas las demás de su fila y de su columna.",
    ),
    "learn.c_p2": (
        "Here is a batch of four of your images, encoded by the model of this collection. Change a caption, move the scale, or shuffle the captions, and watch the loss.",
        "Aquí tienes un lote de cuatro de tus imágenes, codificado por el modelo de esta colección. Cambia una descripción, mueve la escala o baraja las descripciones, y observa la pérdida.",
    ),
    "learn.c_captions": ("Captions", "Descripciones"),
    "learn.c_captions_info": (
        "One per line, in the order of the images",
        "Una por línea, en el orden de las imágenes",
    ),
    "learn.c_lines": (
        "A batch of {n} images needs {n} captions, one per line.",
        "Un lote de {n} imágenes necesita {n} descripciones, una por línea.",
    ),
    "learn.c_few": (
        "This lesson needs a collection of at least {n} images that can be shown.",
        "Esta lección necesita una colección con al menos {n} imágenes que se puedan mostrar.",
    ),
    "learn.c_words": (
        "These images have no captions, so the model chose a word for each of them. Its own choices are easy for it; write captions of your own.",
        "Estas imágenes no tienen descripción, así que el modelo ha elegido una palabra para cada una. Lo que él elige le resulta fácil; escribe tus propias descripciones.",
    ),
    "learn.c_step": ("One training step", "Un paso de entrenamiento"),
    "learn.c_shuffle": ("Shuffle captions", "Barajar descripciones"),
    "learn.c_over": ("Start over", "Empezar de nuevo"),
    "learn.c_others": ("Other images", "Otras imágenes"),
    "learn.c_batch": ("Images of the batch", "Imágenes del lote"),
    "learn.c_alike": ("similar", "parecidas"),
    "learn.c_unlike": ("different", "distintas"),
    "learn.c_loss": ("Loss", "Pérdida"),
    "learn.c_softmax": ("Softmax (CLIP)", "Softmax (CLIP)"),
    "learn.c_sigmoid": ("Sigmoid (SigLIP)", "Sigmoide (SigLIP)"),
    "learn.c_bias": ("Bias", "Sesgo"),
    "learn.c_bias_info": (
        "Added to every logit; SigLIP begins at −10",
        "Se suma a cada logit; SigLIP empieza en −10",
    ),
    "learn.c_loss_now": ("Loss", "Pérdida"),
    "learn.c_parts": (
        "The mean of images → texts ({images}) and texts → images ({texts}). Guessing among {n} would cost ln {n} = {chance}.",
        "La media de imágenes → textos ({images}) y textos → imágenes ({texts}). Adivinar entre {n} costaría ln {n} = {chance}.",
    ),
    "learn.c_parts_sigmoid": (
        "The sum of −ln p over all {n} × {n} yes-or-no questions, divided by {n}.",
        "La suma de −ln p de las {n} × {n} preguntas de sí o no, dividida por {n}.",
    ),
    "learn.c_course": (
        "Steps: {n}. The loss went from {first} to {last}.",
        "Pasos: {n}. La pérdida pasó de {first} a {last}.",
    ),
    "learn.c_table_softmax": (
        "Cosine, softmax of the row and of the column, and the force on each entry",
        "Coseno, softmax de la fila y de la columna, y la fuerza sobre cada celda",
    ),
    "learn.c_table_sigmoid": (
        "Cosine, probability of being a pair, and the force on each entry",
        "Coseno, probabilidad de ser pareja y fuerza sobre cada celda",
    ),
    "learn.c_rowloss": ("loss →", "pérdida →"),
    "learn.c_columnloss": ("loss ↓", "pérdida ↓"),
    "learn.c_of_row": ("of the row", "de la fila"),
    "learn.c_of_column": ("of the column", "de la columna"),
    "learn.c_pull": ("pulled together", "se acercan"),
    "learn.c_push": ("pushed apart", "se alejan"),
    "learn.c_help_softmax": (
        "→ is the softmax over the captions of an image, ↓ the softmax over the images of a caption. The loss of a row or column is −ln p of its pair.",
        "→ es la softmax sobre las descripciones de una imagen, ↓ la softmax sobre las imágenes de una descripción. La pérdida de una fila o columna es −ln p de su pareja.",
    ),
    "learn.c_help_sigmoid": (
        "Each entry is asked for itself: are these two a pair? The losses of a row or column are added up.",
        "A cada celda se le pregunta por separado: ¿son pareja? Las pérdidas de una fila o columna se suman.",
    ),
    "learn.c_h_forces": ("What is pulled, what is pushed", "Qué se acerca y qué se aleja"),
    "learn.c_forces": (
        "The derivative of the loss by a logit is very simple: p − y, where y is 1 for a pair and 0 for all others (here p is the mean of row and column). For a pair it is negative, so a step pulls image and caption together; for all others it is positive, and a step pushes them apart. What the model gets right already has p ≈ y and is left alone: training spends its force on its mistakes. A caption that fits two images well, a hard negative, is pushed hardest.",
        "La derivada de la pérdida respecto a un logit es muy sencilla: p − y, donde y es 1 para una pareja y 0 para las demás (aquí p es la media de fila y columna). En una pareja es negativa, y un paso acerca la imagen y su descripción; en las demás es positiva, y un paso las aleja. Lo que el modelo ya acierta tiene p ≈ y y queda en paz: el entrenamiento gasta su fuerza en los errores. Una descripción que encaja con dos imágenes, un negativo difícil, es la que más se aleja.",
    ),
    "learn.c_h_step": (
        "A step, on these eight vectors alone",
        "Un paso, solo con estos ocho vectores",
    ),
    "learn.c_steps": (
        "“One training step” moves the eight vectors a little against the gradient and puts them back to length one. Real training cannot move vectors: it changes the weights of both encoders, so that all images and texts move, and does so millions of times with batches of thousands. The weights of your model do not change here. Try it after shuffling: the wrong captions are learned just as obediently.",
        "«Un paso de entrenamiento» mueve un poco los ocho vectores en contra del gradiente y los devuelve a longitud uno. El entrenamiento real no puede mover vectores: cambia los pesos de los dos codificadores, con lo que se mueven todas las imágenes y textos, y lo hace millones de veces con lotes de miles. Los pesos de tu modelo no cambian aquí. Pruébalo después de barajar: las descripciones equivocadas se aprenden con la misma obediencia.",
    ),
    "learn.c_h_sigmoid": ("Softmax or sigmoid", "Softmax o sigmoide"),
    "learn.c_sigmoids": (
        "With softmax, captions compete: the probabilities of a row add up to one, so the loss needs the whole batch at once. SigLIP asks a yes-or-no question of each entry, p = σ(s·c + b), and needs no competition. As nearly all entries are “no”, its bias b begins at −10. The force is p − y in both; only p differs.",
        "Con softmax las descripciones compiten: las probabilidades de una fila suman uno, así que la pérdida necesita todo el lote a la vez. SigLIP hace una pregunta de sí o no a cada celda, p = σ(s·c + b), y no necesita competencia. Como casi todas las respuestas son «no», su sesgo b empieza en −10. La fuerza es p − y en ambas; solo cambia p.",
    ),
    "learn.c_sources": (
        "Sources: Radford et al. (2021), “Learning Transferable Visual Models From Natural Language Supervision”, figure 3; Zhai et al. (2023), “Sigmoid Loss for Language Image Pre-Training”, algorithm 1.",
        "Fuentes: Radford et al. (2021), «Learning Transferable Visual Models From Natural Language Supervision», figura 3; Zhai et al. (2023), «Sigmoid Loss for Language Image Pre-Training», algoritmo 1.",
    ),
    # learn: self-attention
    "learn.a_title": ("Self-attention: how patches talk", "Autoatención: cómo hablan los parches"),
    "learn.a_p1": (
        "A vision transformer (ViT) cuts the image into patches and turns each into a vector, a token. In every layer, each token asks a question (its query q), offers a label (its key k) and holds a message (its value v). It compares its query with all keys, turns the scores into shares that add up to one, and reads the values in these proportions:",
        "Un transformer de visión (ViT) corta la imagen en parches y convierte cada uno en un vector, un token. En cada capa, cada token hace una pregunta (su consulta q), ofrece una etiqueta (su clave k) y guarda un mensaje (su valor v). Compara su consulta con todas las claves, convierte las puntuaciones en proporciones que suman uno y lee los valores en esas proporciones:",
    ),
    "learn.a_p2": (
        "attention = softmax(q·k / √d), new token = Σ attention · v. Choose a patch and see where it looks.",
        "atención = softmax(q·k / √d), token nuevo = Σ atención · v. Elige un parche y mira adónde atiende.",
    ),
    "learn.a_conv": (
        "{model}, the model of this collection, is a convolutional network: it has no self-attention over patches. What you see is a toy, with nothing learned: one head compares colors, the other one positions.",
        "{model}, el modelo de esta colección, es una red convolucional: no tiene autoatención entre parches. Lo que ves es un juguete, sin nada aprendido: una cabeza compara colores y la otra, posiciones.",
    ),
    "learn.a_none": (
        "The image encoder of {model} has no self-attention over patches that could be read. What you see is a toy, with nothing learned: one head compares colors, the other one positions.",
        "El codificador de imágenes de {model} no tiene autoatención entre parches que se pueda leer. Lo que ves es un juguete, sin nada aprendido: una cabeza compara colores y la otra, posiciones.",
    ),
    "learn.a_can": (
        "What you see first is a toy, with nothing learned: one head compares colors, the other one positions. To read the layers of {model}, torch has to load it once, which takes some seconds and memory.",
        "Lo que ves primero es un juguete, sin nada aprendido: una cabeza compara colores y la otra, posiciones. Para leer las capas de {model}, torch tiene que cargarlo una vez, lo que cuesta unos segundos y memoria.",
    ),
    "learn.a_no_torch": (
        "What you see is a toy, with nothing learned: one head compares colors, the other one positions. The layers of {model} can only be read with torch, which is not installed: pip install torch open_clip_torch timm",
        "Lo que ves es un juguete, sin nada aprendido: una cabeza compara colores y la otra, posiciones. Las capas de {model} solo se pueden leer con torch, que no está instalado: pip install torch open_clip_torch timm",
    ),
    "learn.a_real": (
        "These are the attention weights of {model} itself.",
        "Estos son los pesos de atención del propio {model}.",
    ),
    "learn.a_command": (
        "To see the attention of a real vision transformer, index a folder with one, and choose that collection:",
        "Para ver la atención de un transformer de visión real, indexa una carpeta con uno y elige esa colección:",
    ),
    "learn.a_folder": ("FOLDER", "CARPETA"),
    "learn.a_load": ("Show the model’s own attention", "Mostrar la atención del modelo"),
    "learn.a_loading": ("Loading the model in torch", "Cargando el modelo en torch"),
    "learn.a_loading_text": ("This takes some seconds.", "Tarda unos segundos."),
    "learn.a_layer": ("Layer", "Capa"),
    "learn.a_head": ("Head", "Cabeza"),
    "learn.a_head_n": ("head {n}", "cabeza {n}"),
    "learn.a_mean": ("mean of all heads", "media de todas las cabezas"),
    "learn.a_colour": ("colors", "colores"),
    "learn.a_place": ("positions", "posiciones"),
    "learn.a_through": (
        "All layers up to this one (rollout)",
        "Todas las capas hasta esta (rollout)",
    ),
    "learn.a_through_info": (
        "With the mean of all heads",
        "Con la media de todas las cabezas",
    ),
    "learn.a_sharpness": ("Length of the queries", "Longitud de las consultas"),
    "learn.a_sharpness_info": (
        "Longer queries, sharper attention",
        "Consultas más largas, atención más nítida",
    ),
    "learn.a_drop": ("Another image", "Otra imagen"),
    "learn.a_need": (
        "Pick an image of the collection, or add one of yours.",
        "Elige una imagen de la colección o añade una tuya.",
    ),
    "learn.a_alt": (
        "{name}, in {rows} × {columns} patches. Choose one with the arrow keys.",
        "{name}, en {rows} × {columns} parches. Elige uno con las flechas.",
    ),
    "learn.a_how": (
        "Choose a patch with the pointer or the arrow keys.",
        "Elige un parche con el puntero o con las flechas.",
    ),
    "learn.a_summary_go": (
        "What becomes the image vector",
        "Lo que llega al vector de la imagen",
    ),
    "learn.a_summary": (
        "The vector of the image is read from:",
        "El vector de la imagen se lee de:",
    ),
    "learn.a_looks": ("{patch} looks at:", "{patch} mira a:"),
    "learn.a_patch": ("row {row}, col. {column}", "fila {row}, col. {column}"),
    "learn.a_itself": ("itself", "sí mismo"),
    "learn.a_rest": ("{share} goes to the class token.", "{share} va al token de clase."),
    "learn.a_key": ("key k", "clave k"),
    "learn.a_sum": (
        "Each share is exp(q·k / √d) over the sum of all, {sum}.",
        "Cada proporción es exp(q·k / √d) entre la suma de todas, {sum}.",
    ),
    "learn.a_query": ("Its query is q = {query}.", "Su consulta es q = {query}."),
    "learn.a_at": ("patch", "parche"),
    "learn.a_score": ("q·k / √d", "q·k / √d"),
    "learn.a_share": ("share", "proporción"),
    "learn.a_reads": (
        "Its color, and the mixture that it reads: ",
        "Su color y la mezcla que lee: ",
    ),
    "learn.a_less": ("little", "poco"),
    "learn.a_more": ("most", "más"),
    "learn.a_h_heads": ("Several heads", "Varias cabezas"),
    "learn.a_heads": (
        "Each layer has several heads, and each has queries, keys and values of its own, so one head may look for the same color while another looks to the left. Their messages are put side by side and mixed. What a head looks for is learned; nobody tells it.",
        "Cada capa tiene varias cabezas, y cada una sus propias consultas, claves y valores: una puede buscar el mismo color mientras otra mira a la izquierda. Sus mensajes se ponen uno al lado del otro y se mezclan. Lo que busca una cabeza se aprende; nadie se lo dice.",
    ),
    "learn.a_h_rollout": (
        "The class token, and all layers together",
        "El token de clase y todas las capas juntas",
    ),
    "learn.a_rollout": (
        "CLIP’s vision transformers add one token that is no patch, the class token: what it has read after the last layer becomes the vector of the image. (SigLIP reads all patches once at the end instead.) By then the patches have already read one another, so the last layer alone does not say where the information came from. Rollout multiplies the attention of all layers, and counts that a layer adds to a token what it reads, so half of it stays itself. Attention says where a layer reads, not why the model decides as it does; for that, see “Why”.",
        "Los transformers de visión de CLIP añaden un token que no es un parche, el token de clase: lo que ha leído tras la última capa es el vector de la imagen. (SigLIP, en cambio, lee todos los parches una vez al final.) Para entonces los parches ya se han leído entre sí, así que la última capa sola no dice de dónde vino la información. El rollout multiplica la atención de todas las capas y tiene en cuenta que una capa suma a un token lo que lee, de modo que la mitad sigue siendo él mismo. La atención dice dónde lee una capa, no por qué decide el modelo; para eso está «Por qué».",
    ),
    "learn.a_sources": (
        "Sources: Vaswani et al. (2017), “Attention Is All You Need”; Dosovitskiy et al. (2021), “An Image is Worth 16x16 Words”; Abnar and Zuidema (2020), “Quantifying Attention Flow in Transformers”.",
        "Fuentes: Vaswani et al. (2017), «Attention Is All You Need»; Dosovitskiy et al. (2021), «An Image is Worth 16x16 Words»; Abnar y Zuidema (2020), «Quantifying Attention Flow in Transformers».",
    ),
    # screens
    "screen.none_title": ("No collection yet", "Aún no hay ninguna colección"),
    "screen.none_text": (
        "Add photos here, or index a folder in a terminal:",
        "Añade fotos aquí, o indexa una carpeta en una terminal:",
    ),
    "screen.none_command": (
        "Index a folder of images in a terminal:",
        "Indexa una carpeta de imágenes en una terminal:",
    ),
    "screen.gone_text": (
        "Choose another collection.",
        "Elige otra colección.",
    ),
    "screen.choose_title": ("No collection is selected", "No hay ninguna colección seleccionada"),
    "screen.empty_title": ("This collection is empty", "Esta colección está vacía"),
    "screen.empty_text": ("Add images to it:", "Añade imágenes:"),
    "screen.loading_title": ("Loading the model", "Cargando el modelo"),
    "screen.loading_text": (
        "Loading {model}. Your search will start automatically.",
        "Cargando {model}. Tu búsqueda empezará automáticamente.",
    ),
    "screen.failed_title": (
        "The model could not be loaded",
        "No se ha podido cargar el modelo",
    ),
    "screen.retry": ("Try again", "Reintentar"),
    # errors of the library, by their code; the detail is in English
    "problem.gone": (
        "There is no collection called “{name}” here",
        "Aquí no hay ninguna colección llamada «{name}»",
    ),
    "problem.index_not_found": (
        "This collection no longer exists.",
        "Esta colección ya no existe.",
    ),
    "problem.index_migrated": (
        "This collection has just changed its model; try again.",
        "Esta colección acaba de cambiar de modelo; inténtalo de nuevo.",
    ),
    "problem.index_locked": (
        "This collection is being changed by another program; try again later.",
        "Otro programa está cambiando esta colección; inténtalo más tarde.",
    ),
    "problem.item_not_found": (
        "That image is no longer in this collection.",
        "Esa imagen ya no está en esta colección.",
    ),
    "problem.image_decode": (
        "{detail}",
        "La imagen no se puede leer. Detalle, en inglés: {detail}",
    ),
    "problem.invalid_input": (
        "{detail}",
        "Esto no se puede pedir así. Detalle, en inglés: {detail}",
    ),
    "problem.other": ("{detail}", "No se ha podido hacer. Detalle, en inglés: {detail}"),
}


class Words:
    """The words of one language.

    Args:
        language: "en" or "es".
    """

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else LANGUAGES[0]
        self._column = LANGUAGES.index(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """The words of a key, with values put in. A key that is not there is a defect."""
        text = STRINGS[key][self._column]
        return text.format(**values) if values else text

    def count(self, key: str, n: int, **values: object) -> str:
        """The words for a number of things; `key_one` is used for one, where there is one."""
        name = f"{key}_one" if n == 1 and f"{key}_one" in STRINGS else key
        return self(name, n=self.number(n), **values)

    def number(self, n: int) -> str:
        """A whole number with the language's separator of thousands."""
        text = f"{n:,}"
        return text if self.language == "en" else text.replace(",", ".")

    def as_script(self, prefix: str) -> str:
        """The words whose keys begin with a prefix, as a JavaScript object."""
        chosen = {key.removeprefix(prefix): self(key) for key in STRINGS if key.startswith(prefix)}
        return json.dumps(chosen, ensure_ascii=False).replace("<", "\\u003c")
